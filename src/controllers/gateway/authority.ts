import { createPrivateKey, X509Certificate } from 'node:crypto';
import { apiVersionOf, egressGateways, gatewayCaSecret, secrets, type EgressGateway, type Secret } from '#api';
import { isConflict, keyOf, type Client } from '#kube';
import { sha256Hex, type Clock, type Logger } from '#lib';
import { createAuthority, loadSigner, type CertifiedKey, type Signer } from '#lib/x509';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const ROOT_LIFE = 3_650 * DAY;
const INTERMEDIATE_LIFE = 7 * DAY;
/** Certificates begin earlier than now, for clocks that are behind. */
const BACKDATE = HOUR;
/** A root is made once, maybe while the clock is ahead; it must not be void when the clock is put right. */
const ROOT_BACKDATE = 365 * DAY;

/** The root Secret of a gateway does not hold a usable authority. The gateway serves nothing until it does. */
export class RootUnusable extends Error {}

/** What signs for one gateway: the root sandboxes trust, and an intermediate of each worker. */
export interface GatewayAuthority {
  readonly rootPem: string;
  intermediate(worker: string): Promise<CertifiedKey>;
}

interface Root extends GatewayAuthority {
  /** Hash of what it was loaded from. */
  readonly source: string;
}

const PEM_KEYS = ['tls.crt', 'tls.key'] as const;

const rootOf = (secret: Secret): CertifiedKey => {
  const [certPem, keyPem] = PEM_KEYS.map((key) => Buffer.from(secret.data?.[key] ?? '', 'base64').toString());
  const unusable = (why: string): RootUnusable => new RootUnusable(`Secret ${secret.metadata.name} ${why}.`);
  if (!certPem || !keyPem) throw unusable('must have tls.crt and tls.key');
  try {
    const certificate = new X509Certificate(certPem);
    if (!certificate.ca) throw unusable('holds a certificate that is no authority');
    if (!certificate.checkPrivateKey(createPrivateKey(keyPem))) throw unusable('holds a key that does not belong to its certificate');
  } catch (error) {
    if (error instanceof RootUnusable) throw error;
    throw unusable('does not hold a PEM certificate and key');
  }
  return { certPem, keyPem };
};

/** A distinguished name holds at most 64 characters; names of Kubernetes need no escapes in it. */
const commonName = (text: string): string => (text.length <= 64 ? text : `${text.slice(0, 55)} ${sha256Hex(text).slice(0, 8)}`);

/**
 * The certificate authorities of gateways. The root is made once, into the Secret of the gateway; its key is read by this
 * process alone. Intermediates live in memory: each lasts 7 days and is replaced at half of that.
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

  /** The authority of a gateway; `secret` is its root Secret as the cache has it. Throws RootUnusable. */
  async of(gateway: EgressGateway, secret: Secret | undefined): Promise<GatewayAuthority> {
    const key = keyOf(gateway);
    const root = rootOf(secret ?? (await this.#create(gateway)));
    const source = sha256Hex(root.certPem + root.keyPem);
    const known = this.#roots.get(key);
    if (known?.source === source) return known;
    const signer = await loadSigner(root).catch(() => {
      throw new RootUnusable(`Secret ${gatewayCaSecret(gateway.metadata.name)} must hold a P-256 key in PKCS#8.`);
    });
    const loaded: Root = { source, rootPem: root.certPem, intermediate: this.#intermediates(key, signer) };
    this.#roots.set(key, loaded);
    return loaded;
  }

  /** Forgets gateways that are gone. */
  keep(namespace: string, names: ReadonlySet<string>): void {
    for (const key of this.#roots.keys()) {
      const slash = key.indexOf('/');
      if (key.slice(0, slash) === namespace && !names.has(key.slice(slash + 1))) this.#roots.delete(key);
    }
  }

  #intermediates(gateway: string, signer: Signer): GatewayAuthority['intermediate'] {
    const made = new Map<string, { readonly from: number; readonly renewAt: number; readonly certified: Promise<CertifiedKey> }>();
    return (worker) => {
      const now = this.#clock.now();
      const current = made.get(worker);
      // Also when the clock was set back to before it began.
      if (current && now < current.renewAt && now >= current.from) return current.certified;
      const certified = signer.issue({
        subject: `CN=${commonName(`clrk gateway ${gateway} worker ${worker}`)}`,
        ca: { pathLength: 0 },
        notBefore: new Date(now - BACKDATE),
        notAfter: new Date(now + INTERMEDIATE_LIFE),
      });
      made.set(worker, { from: now - BACKDATE, renewAt: now + INTERMEDIATE_LIFE / 2, certified });
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
