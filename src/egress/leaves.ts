import { createHash } from 'node:crypto';
import type { Clock } from '#lib';
import { loadSigner, type Signer } from '#lib/x509';
import { canonicalHost } from '#policy';

/** A certificate for one name, as a sandbox's TLS client sees it: leaf, then the intermediate that signed it. */
export interface Leaf {
  readonly name: string;
  readonly chainPem: string;
  readonly keyPem: string;
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
  /** What it was signed with and until when; a leaf of the same version need not be sent again. */
  readonly version: string;
}

export interface Intermediate {
  readonly certPem: string;
  readonly keyPem: string;
}

const HOUR = 3_600_000;
const LIFETIME = 24 * HOUR;
/** Clocks of sandboxes may be behind. */
const BACKDATE = HOUR;
/** A leaf is made anew when this little of it is left. */
const MARGIN = 2 * HOUR;

/** Names a gateway's leaves are kept for; Envoy holds about 22 KB for each. */
export const MAX_LEAVES = 4096;

/** Whether a name can have a leaf at all: canonical LDH, never an address, never the stand-in for a missing SNI. */
export const isLeafName = (name: string): boolean => !name.includes(':') && canonicalHost(name) === name && name !== 'no-sni.invalid';

/**
 * Leaves of one gateway, made when Envoy asks and kept until they are nearly over. `admit` says for which names, and whether a
 * route admits the name; names of the deny slice are the first to go when there are too many.
 */
export class Leaves {
  readonly #clock: Clock;
  readonly #admit: (name: string) => 'admitted' | 'denied' | undefined;
  readonly #onEvict: (name: string) => void;
  readonly #leaves = new Map<string, Leaf>();
  readonly #pending = new Map<string, Promise<Leaf | undefined>>();
  #intermediate: Intermediate | undefined;
  #signer: Promise<Signer> | undefined;
  /** End of every leaf Envoy may have, also of those it had from before a restart of ours. */
  readonly #ends = new Map<string, number>();
  #issuer = '';
  readonly #max: number;

  /** `onEvict` hears of names whose leaf is dropped, so that Envoy drops it too. */
  constructor(options: { clock: Clock; admit: (name: string) => 'admitted' | 'denied' | undefined; onEvict: (name: string) => void; max?: number }) {
    this.#clock = options.clock;
    this.#admit = options.admit;
    this.#onEvict = options.onEvict;
    this.#max = options.max ?? MAX_LEAVES;
  }

  /** The certificate to sign with from now on. Leaves of an earlier one are dropped: its root may not be trusted any more. */
  use(intermediate: Intermediate): void {
    if (intermediate.certPem === this.#intermediate?.certPem && intermediate.keyPem === this.#intermediate.keyPem) return;
    this.#intermediate = intermediate;
    this.#issuer = createHash('sha256').update(intermediate.certPem).digest('hex').slice(0, 16);
    this.#signer = loadSigner(intermediate);
    this.#signer.catch(() => {}); // said by `get`
    for (const name of this.#ends.keys()) this.#drop(name);
  }

  /** Whether a leaf Envoy says it has is one that would be served now. */
  isCurrent(name: string, version: string): boolean {
    const [issuer, notAfter] = version.split('.');
    const current = this.#admit(name) !== undefined && issuer === this.#issuer && this.#isValid(Number(notAfter));
    if (current) this.#ends.set(name, Number(notAfter));
    return current;
  }

  /** Drops the leaves that are not valid now. Time does that by itself, with Envoy's own timers; call it when the clock was set. */
  check(): void {
    for (const [name, notAfter] of this.#ends) {
      if (this.#isValid(notAfter)) continue;
      this.#drop(name);
    }
  }

  #isValid(notAfter: number): boolean {
    const left = notAfter - this.#clock.now();
    return left > MARGIN && left <= LIFETIME;
  }

  #drop(name: string): void {
    this.#leaves.delete(name);
    this.#ends.delete(name);
    this.#onEvict(name);
  }

  /** The leaf of a name, or undefined when it must not have one. Concurrent questions for one name make one leaf. */
  async get(name: string): Promise<Leaf | undefined> {
    if (!isLeafName(name) || this.#admit(name) === undefined || !this.#signer) return undefined;
    const known = this.#leaves.get(name);
    if (known && this.#isValid(known.notAfter)) return known;
    let made = this.#pending.get(name);
    if (!made) {
      made = this.#make(name, this.#signer, this.#issuer).finally(() => this.#pending.delete(name));
      this.#pending.set(name, made);
    }
    return made;
  }

  async #make(name: string, signing: Promise<Signer>, issuer: string): Promise<Leaf> {
    const signer = await signing;
    const now = this.#clock.now();
    // Certificates have whole seconds.
    const notAfter = Math.floor((now - BACKDATE + LIFETIME) / 1000) * 1000;
    const issued = await signer.issue({ subject: '', usage: 'server', dns: [name], notBefore: new Date(now - BACKDATE), notAfter: new Date(notAfter) });
    const leaf = { name, chainPem: issued.certPem + signer.certPem, keyPem: issued.keyPem, notAfter, version: `${issuer}.${notAfter}` };
    if (issuer === this.#issuer) {
      this.#leaves.set(name, leaf);
      this.#ends.set(name, notAfter);
      this.#evict();
    }
    return leaf;
  }

  #evict(): void {
    while (this.#leaves.size > this.#max) {
      // Maps keep insertion order: the oldest denied name, else the oldest.
      const names = [...this.#leaves.keys()];
      this.#drop(names.find((name) => this.#admit(name) !== 'admitted') ?? names[0]!);
    }
  }
}
