import { gatewayCaSecret, gatewaySigningSecret, ROTATE, type EgressGateway, type Secret } from '#api';
import { keyOf, splitKey, type Client } from '#kube';
import { canonicalJson, kubeTime, type Clock, type Logger } from '#lib';
import type { CertifiedKey } from '#lib/x509';
import { caReferenceOf } from './ca-ref.ts';
import { authorityIn, AuthorityUnusable, type CaAuthority } from './ca-secret.ts';
import { CaStore } from './ca-store.ts';
import { Intermediates } from './intermediates.ts';
import { advance, isValidAt, phaseOf, trustedRoots, type Phase, type Standing } from './rotation.ts';
import type { TrustWatch, Waiting } from './trust-watch.ts';

/** A change of the root that is not over. */
export interface Rotation extends Waiting {
  readonly phase: Phase;
  /** The new root. */
  readonly to: string;
}

/** What signs for one gateway, and what its sandboxes trust. */
export interface GatewayAuthority {
  /** The root above what signs. */
  readonly rootPem: string;
  /** Every root new sandboxes trust. */
  readonly trusted: readonly string[];
  /** Until when what signs is valid, in milliseconds since the epoch. */
  readonly notAfter: number;
  readonly rotation?: Rotation;
  /** Why what should sign cannot; what signed before goes on. */
  readonly problem?: AuthorityUnusable;
  /** What may pass when it is tried again. */
  readonly error?: unknown;
  intermediate(worker: string): Promise<CertifiedKey>;
}

/** What the namespace of a gateway has. */
export type SecretOf = (name: string) => Secret | undefined;

interface Known {
  readonly standing: Standing;
  /** What the intermediates were made for. */
  readonly key: string;
  readonly intermediates: Intermediates;
  readonly rotation: Rotation | undefined;
}

type Wanted = { readonly authority: CaAuthority } | { readonly problem: AuthorityUnusable } | { readonly error: unknown };

/**
 * The certificate authorities of gateways: what `caCertRef` names, or a root made for the gateway. What should sign is read
 * anew each time; what does sign follows it, a new root in phases (rotation.ts). Keys of authorities stay in this process.
 */
export class Authorities {
  readonly #store: CaStore;
  readonly #clock: Clock;
  readonly #watch: Pick<TrustWatch, 'untrusting' | 'unsigning'>;
  readonly #known = new Map<string, Known>();

  constructor(options: { client: Client; clock: Clock; log: Logger; watch: Pick<TrustWatch, 'untrusting' | 'unsigning'> }) {
    this.#store = new CaStore(options);
    this.#clock = options.clock;
    this.#watch = options.watch;
  }

  /** The authority of a gateway; Secrets are those of its namespace, as the cache has them. Throws AuthorityUnusable. */
  async of(gateway: EgressGateway, secretOf: SecretOf): Promise<GatewayAuthority> {
    const key = keyOf(gateway);
    const read = await this.#wanted(gateway, secretOf);
    const wanted = 'authority' in read ? read.authority : undefined;
    const kept = secretOf(gatewaySigningSecret(gateway.metadata.name));
    const before = this.#known.get(key)?.standing ?? this.#store.standing(gateway, kept) ?? (wanted && { inForce: wanted });
    if (!before) throw 'problem' in read ? read.problem : (read as { error: unknown }).error;

    const now = this.#clock.now();
    let standing = advance(before, wanted, {
      now,
      trusted: (rootPem) => this.#watch.untrusting(key, rootPem).who.length === 0,
      signing: (rootPem) => this.#watch.unsigning(key, rootPem).who.length === 0,
    });
    let error = 'error' in read ? read.error : undefined;
    if (standing !== before || !kept) {
      try {
        await this.#store.keep(gateway, standing);
      } catch (failure) {
        // What is not kept must not sign: after a restart the sandboxes that trust it would be unknown.
        if (!this.#known.has(key)) throw failure;
        standing = before;
        error = failure;
      }
    }
    const { inForce } = standing;
    if (!isValidAt(inForce, now)) throw 'problem' in read ? read.problem : notValid(inForce, now, 'The authority of the gateway');
    const { intermediates, rotation } = await this.#load(key, standing, wanted, gateway.metadata.annotations?.[ROTATE] ?? '');
    return {
      rootPem: inForce.rootPem,
      trusted: trustedRoots(standing, wanted),
      notAfter: inForce.notAfter,
      ...(rotation && { rotation }),
      ...('problem' in read && { problem: read.problem }),
      ...(error !== undefined && { error }),
      intermediate: (worker) => intermediates.of(worker),
    };
  }

  #rotation(key: string, standing: Standing, wanted: CaAuthority | undefined): Rotation | undefined {
    const phase = phaseOf(standing, wanted);
    if (phase === undefined) return undefined;
    const to = phase === 'Signing' ? standing.inForce.rootPem : wanted!.rootPem;
    return { phase, to, ...this.#waiting(key, phase, to) };
  }

  #waiting(key: string, phase: Phase, to: string): Waiting {
    return phase === 'Signing' ? this.#watch.unsigning(key, to) : this.#watch.untrusting(key, to);
  }

  /** Namespaces with a gateway whose change of the root waits for something else now. */
  moved(): readonly string[] {
    return [...this.#known].flatMap(([key, { rotation }]) => {
      if (!rotation) return [];
      const { phase, to, sandboxes, who } = rotation;
      return canonicalJson(this.#waiting(key, phase, to)) === canonicalJson({ sandboxes, who }) ? [] : [splitKey(key).namespace];
    });
  }

  /** Intermediates of what signs; others than before when that changed, or when the gateway asks for new ones. */
  async #load(gateway: string, standing: Standing, wanted: CaAuthority | undefined, asked: string): Promise<Known> {
    const key = `${standing.inForce.source} ${asked}`;
    const known = this.#known.get(gateway);
    const intermediates = known?.key === key ? known.intermediates : await Intermediates.open(gateway, standing.inForce, this.#clock);
    const loaded = { standing, key, intermediates, rotation: this.#rotation(gateway, standing, wanted) };
    this.#known.set(gateway, loaded);
    return loaded;
  }

  /** What should sign. A gateway that says something impossible has no authority at all: that throws. */
  async #wanted(gateway: EgressGateway, secretOf: SecretOf): Promise<Wanted> {
    const { secret: named, problem } = caReferenceOf(gateway);
    if (problem) throw problem;
    try {
      const secret = named === undefined ? await this.#store.root(gateway, secretOf(gatewayCaSecret(gateway.metadata.name))) : secretOf(named);
      if (!secret) return { problem: new AuthorityUnusable('SecretNotFound', `There is no Secret ${named} (tls.caCertRef).`) };
      const authority = authorityIn(secret);
      const now = this.#clock.now();
      return isValidAt(authority, now) ? { authority } : { problem: notValid(authority, now, `The authority in Secret ${secret.metadata.name}`) };
    } catch (error) {
      return error instanceof AuthorityUnusable ? { problem: error } : { error };
    }
  }

  /** Forgets gateways that are gone. */
  keep(namespace: string, names: ReadonlySet<string>): void {
    for (const key of this.#known.keys()) {
      const gateway = splitKey(key);
      if (gateway.namespace === namespace && !names.has(gateway.name)) this.#known.delete(key);
    }
  }
}

const notValid = ({ notBefore, notAfter }: CaAuthority, now: number, what: string): AuthorityUnusable =>
  new AuthorityUnusable('CertificateInvalid', `${what} ${now < notBefore ? `is valid from ${kubeTime(notBefore)} only` : `ran out at ${kubeTime(notAfter)}`}.`);
