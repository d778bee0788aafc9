import { apiVersionOf, egressGateways, gatewayCaSecret, gatewaySigningSecret, ROTATE, secrets, type EgressGateway, type Secret } from '#api';
import { isConflict, keyOf, type Client } from '#kube';
import { canonicalJson, type Clock, type Logger } from '#lib';
import { createAuthority } from '#lib/x509';
import { authorityIn, textOf } from './ca-secret.ts';
import { commonName } from './intermediates.ts';
import type { Standing } from './rotation.ts';

const DAY = 86_400_000;
const ROOT_LIFE = 3_650 * DAY;
/** A root is made once, maybe while the clock is ahead; it must not be void when the clock is put right. */
const ROOT_BACKDATE = 365 * DAY;
/** A root of ours is replaced when this little of its life is left. */
export const RENEW_BEFORE = 30 * DAY;

const encode = (values: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(values).map(([key, value]) => [key, Buffer.from(value).toString('base64')]));

/** The value that asks for a new root, if the gateway has one. */
const rootAsked = ({ metadata }: EgressGateway): string | undefined => {
  const value = metadata.annotations?.[ROTATE];
  return value?.startsWith('root-') ? value : undefined;
};

const isOwnedBy = (secret: Secret, { metadata }: EgressGateway): boolean => secret.metadata.ownerReferences?.some(({ uid }) => uid === metadata.uid) ?? false;

/** Secrets that hold what is kept of a gateway's authority: the root made for it, and what signs now. Both go with the gateway. */
export class CaStore {
  readonly #client: Client;
  readonly #clock: Clock;
  readonly #log: Logger;

  constructor({ client, clock, log }: { client: Client; clock: Clock; log: Logger }) {
    this.#client = client;
    this.#clock = clock;
    this.#log = log;
  }

  /** The root Secret of a gateway: made when there is none, with a new root when the old one runs out or a new one is asked for. */
  async root(gateway: EgressGateway, cached: Secret | undefined): Promise<Secret> {
    if (!cached) return this.#createRoot(gateway);
    if (!this.#isDue(gateway, cached)) return cached;
    const { namespace, name } = cached.metadata;
    const newest = await this.#client.get(secrets, namespace!, name);
    if (!newest) return this.#createRoot(gateway);
    if (!this.#isDue(gateway, newest)) return newest;
    const { annotations, data } = await this.#newRoot(gateway);
    const metadata = { ...newest.metadata, annotations: { ...newest.metadata.annotations, ...annotations } };
    const renewed = await this.#client.update(secrets, { ...newest, metadata, data });
    this.#log.info('a new root certificate made', { gateway: keyOf(gateway) });
    return renewed;
  }

  #isDue(gateway: EgressGateway, secret: Secret): boolean {
    const asked = rootAsked(gateway);
    if (asked !== undefined && secret.metadata.annotations?.[ROTATE] !== asked) return true;
    // What somebody else put there is theirs to replace.
    if (!isOwnedBy(secret, gateway)) return false;
    try {
      const { notBefore, notAfter } = authorityIn(secret);
      const now = this.#clock.now();
      return now < notBefore || now >= notAfter - RENEW_BEFORE;
    } catch {
      return false; // said by who reads it; it may be a slip of the hand
    }
  }

  async #newRoot(gateway: EgressGateway): Promise<{ readonly annotations: Record<string, string>; readonly data: Record<string, string> }> {
    const now = this.#clock.now();
    const root = await createAuthority({
      subject: `CN=${commonName(`clrk gateway ${keyOf(gateway)}`)}`,
      ca: { pathLength: 1 },
      notBefore: new Date(now - ROOT_BACKDATE),
      notAfter: new Date(now + ROOT_LIFE),
    });
    const asked = rootAsked(gateway);
    return { annotations: asked === undefined ? {} : { [ROTATE]: asked }, data: encode({ 'tls.crt': root.certPem, 'tls.key': root.keyPem }) };
  }

  async #createRoot(gateway: EgressGateway): Promise<Secret> {
    const { annotations, data } = await this.#newRoot(gateway);
    const { secret, made } = await this.#create(gateway, gatewayCaSecret(gateway.metadata.name), data, annotations);
    if (made) this.#log.info('root certificate made', { gateway: keyOf(gateway) });
    return secret;
  }

  /** What signed for the gateway last; undefined when that is not known. */
  standing(gateway: EgressGateway, cached: Secret | undefined): Standing | undefined {
    if (!cached || !isOwnedBy(cached, gateway)) return undefined;
    try {
      const previousRoot = textOf(cached, 'previous.crt');
      return { inForce: authorityIn(cached), ...(previousRoot && { previousRoot }) };
    } catch {
      return undefined;
    }
  }

  /** Keeps what signs, so that a restart finds a change of the root where it was. */
  async keep(gateway: EgressGateway, { inForce, previousRoot }: Standing): Promise<void> {
    const { chainPem, certPem, keyPem, rootPem } = inForce;
    const name = gatewaySigningSecret(gateway.metadata.name);
    const data = encode({ 'tls.crt': chainPem || certPem, 'tls.key': keyPem, 'ca.crt': rootPem, ...(previousRoot && { 'previous.crt': previousRoot }) });
    const { secret, made } = await this.#create(gateway, name, data, {});
    if (!made && canonicalJson(secret.data) !== canonicalJson(data)) await this.#client.update(secrets, { ...secret, data });
  }

  /** Makes a Secret of the gateway, or gives the one that is there. */
  async #create(
    gateway: EgressGateway,
    secretName: string,
    data: Record<string, string>,
    annotations: Record<string, string>,
  ): Promise<{ readonly secret: Secret; readonly made: boolean }> {
    const { namespace, name, uid } = gateway.metadata;
    const owner = { apiVersion: apiVersionOf(egressGateways), kind: egressGateways.kind, name, uid: uid!, controller: true, blockOwnerDeletion: true };
    try {
      const metadata = { namespace: namespace!, name: secretName, ownerReferences: [owner], annotations };
      return { secret: await this.#client.create(secrets, { metadata, type: 'kubernetes.io/tls', data }), made: true };
    } catch (error) {
      const there = isConflict(error) ? await this.#client.get(secrets, namespace!, secretName) : undefined;
      if (!there) throw error;
      return { secret: there, made: false };
    }
  }
}
