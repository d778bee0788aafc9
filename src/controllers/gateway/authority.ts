import { apiVersionOf, egressGateways, gatewayCaSecret, secrets, type EgressGateway, type Secret } from '#api';
import { isConflict, keyOf, type Client } from '#kube';
import { kubeTime, sha256Hex, type Clock, type Logger } from '#lib';
import { createAuthority, loadSigner, type CertifiedKey, type Signer } from '#lib/x509';
import { caReferenceOf } from './ca-ref.ts';
import { authorityIn, AuthorityUnusable, type CaAuthority } from './ca-secret.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const ROOT_LIFE = 3_650 * DAY;
const INTERMEDIATE_LIFE = 7 * DAY;
/** Certificates begin earlier than now, for clocks that are behind. */
const BACKDATE = HOUR;
/** A root is made once, maybe while the clock is ahead; it must not be void when the clock is put right. */
const ROOT_BACKDATE = 365 * DAY;

/** What signs for one gateway: the root sandboxes trust, and an intermediate of each worker. */
export interface GatewayAuthority {
  readonly rootPem: string;
  /** The certificate is followed by the chain above it, without the root. */
  intermediate(worker: string): Promise<CertifiedKey>;
}

interface Root extends GatewayAuthority {
  /** Hash of what it was loaded from. */
  readonly source: string;
}

/** A distinguished name holds at most 64 characters; names of Kubernetes need no escapes in it. */
const commonName = (text: string): string => (text.length <= 64 ? text : `${text.slice(0, 55)} ${sha256Hex(text).slice(0, 8)}`);

/** What the namespace of a gateway has. */
export type SecretOf = (name: string) => Secret | undefined;

/**
 * The certificate authorities of gateways: what `caCertRef` names, or a root made once, into the Secret of the gateway. Keys of
 * authorities are read by this process alone. Intermediates live in memory: each lasts 7 days and is replaced at half of that.
 */
export class Authorities {
  readonly #client: Client;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #roots = new Map<string, Root>();

  constructor({ client, clock, log }: { client: Client; clock: Clock; log: Logger }) {
    this.#client = client;
    this.#clock = clock;
    this.#log = log;
  }

  /** The authority of a gateway; Secrets are those of its namespace, as the cache has them. Throws AuthorityUnusable. */
  async of(gateway: EgressGateway, secretOf: SecretOf): Promise<GatewayAuthority> {
    const key = keyOf(gateway);
    const wanted = await this.#wanted(gateway, secretOf);
    const known = this.#roots.get(key);
    if (known?.source === wanted.source) return known;
    const signer = await loadSigner(wanted);
    const loaded: Root = { source: wanted.source, rootPem: wanted.rootPem, intermediate: this.#intermediates(key, wanted, signer) };
    this.#roots.set(key, loaded);
    return loaded;
  }

  async #wanted(gateway: EgressGateway, secretOf: SecretOf): Promise<CaAuthority> {
    const { secret: named, problem } = caReferenceOf(gateway);
    if (problem) throw problem;
    const own = gatewayCaSecret(gateway.metadata.name);
    const secret = secretOf(named ?? own) ?? (named === undefined ? await this.#create(gateway) : undefined);
    if (!secret) throw new AuthorityUnusable('SecretNotFound', `There is no Secret ${named} (tls.caCertRef).`);
    const authority = authorityIn(secret);
    const now = this.#clock.now();
    if (now < authority.notBefore || now >= authority.notAfter) {
      const why = now < authority.notBefore ? `is valid from ${kubeTime(authority.notBefore)} only` : `ran out at ${kubeTime(authority.notAfter)}`;
      throw new AuthorityUnusable('CertificateInvalid', `The authority in Secret ${secret.metadata.name} ${why}.`);
    }
    return authority;
  }

  /** Forgets gateways that are gone. */
  keep(namespace: string, names: ReadonlySet<string>): void {
    for (const key of this.#roots.keys()) {
      const slash = key.indexOf('/');
      if (key.slice(0, slash) === namespace && !names.has(key.slice(slash + 1))) this.#roots.delete(key);
    }
  }

  #intermediates(gateway: string, { chainPem, notBefore, notAfter }: CaAuthority, signer: Signer): GatewayAuthority['intermediate'] {
    const made = new Map<string, { readonly from: number; readonly renewAt: number; readonly certified: Promise<CertifiedKey> }>();
    return (worker) => {
      const now = this.#clock.now();
      const current = made.get(worker);
      // Also when the clock was set back to before it began.
      if (current && now < current.renewAt && now >= current.from) return current.certified;
      // Never valid when what is above it is not.
      const [from, until] = [Math.max(now - BACKDATE, notBefore), Math.min(now + INTERMEDIATE_LIFE, notAfter)];
      const issued = signer.issue({
        subject: `CN=${commonName(`clrk gateway ${gateway} worker ${worker}`)}`,
        ca: { pathLength: 0 },
        notBefore: new Date(from),
        notAfter: new Date(until),
      });
      const certified = issued.then(({ certPem, keyPem }) => ({ certPem: certPem + chainPem, keyPem }));
      made.set(worker, { from, renewAt: now + (until - now) / 2, certified });
      certified.catch(() => made.delete(worker));
      return certified;
    };
  }

  async #create(gateway: EgressGateway): Promise<Secret> {
    const { namespace, name, uid } = gateway.metadata;
    const now = this.#clock.now();
    const root = await createAuthority({
      subject: `CN=${commonName(`clrk gateway ${namespace}/${name}`)}`,
      ca: { pathLength: 1 },
      notBefore: new Date(now - ROOT_BACKDATE),
      notAfter: new Date(now + ROOT_LIFE),
    });
    const encode = (pem: string): string => Buffer.from(pem).toString('base64');
    const owner = { apiVersion: apiVersionOf(egressGateways), kind: egressGateways.kind, name, uid: uid!, controller: true, blockOwnerDeletion: true };
    try {
      const made = await this.#client.create(secrets, {
        metadata: { namespace: namespace!, name: gatewayCaSecret(name), ownerReferences: [owner] },
        type: 'kubernetes.io/tls',
        data: { 'tls.crt': encode(root.certPem), 'tls.key': encode(root.keyPem) },
      });
      this.#log.info('root certificate made', { gateway: `${namespace}/${name}` });
      return made;
    } catch (error) {
      const there = isConflict(error) ? await this.#client.get(secrets, namespace!, gatewayCaSecret(name)) : undefined;
      if (!there) throw error;
      return there;
    }
  }
}
