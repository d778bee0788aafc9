import { sha256Hex, type Clock } from '#lib';
import { loadSigner, type CertifiedKey, type Signer } from '#lib/x509';
import type { CaAuthority } from './ca-secret.ts';

const HOUR = 3_600_000;
const LIFE = 7 * 24 * HOUR;
/** Certificates begin earlier than now, for clocks that are behind. */
const BACKDATE = HOUR;

/** A distinguished name holds at most 64 characters; names of Kubernetes need no escapes in it. */
export const commonName = (text: string): string => (text.length <= 64 ? text : `${text.slice(0, 55)} ${sha256Hex(text).slice(0, 8)}`);

interface Made {
  readonly from: number;
  readonly renewAt: number;
  readonly certified: Promise<CertifiedKey>;
}

/** The intermediates of one authority, one for each worker, in memory only: each lasts 7 days and is replaced at half of that. */
export class Intermediates {
  readonly #gateway: string;
  readonly #authority: CaAuthority;
  readonly #signer: Signer;
  readonly #clock: Clock;
  readonly #made = new Map<string, Made>();

  private constructor(gateway: string, authority: CaAuthority, signer: Signer, clock: Clock) {
    this.#gateway = gateway;
    this.#authority = authority;
    this.#signer = signer;
    this.#clock = clock;
  }

  static async open(gateway: string, authority: CaAuthority, clock: Clock): Promise<Intermediates> {
    return new Intermediates(gateway, authority, await loadSigner(authority), clock);
  }

  /** The certificate is followed by the chain above it, without the root. */
  of(worker: string): Promise<CertifiedKey> {
    const now = this.#clock.now();
    const current = this.#made.get(worker);
    // Also when the clock was set back to before it began.
    if (current && now < current.renewAt && now >= current.from) return current.certified;
    const { chainPem, notBefore, notAfter } = this.#authority;
    // Never valid when what is above it is not.
    const [from, until] = [Math.max(now - BACKDATE, notBefore), Math.min(now + LIFE, notAfter)];
    const issued = this.#signer.issue({
      subject: `CN=${commonName(`clrk gateway ${this.#gateway} worker ${worker}`)}`,
      ca: { pathLength: 0 },
      notBefore: new Date(from),
      notAfter: new Date(until),
    });
    const certified = issued.then(({ certPem, keyPem }) => ({ certPem: certPem + chainPem, keyPem }));
    this.#made.set(worker, { from, renewAt: now + (until - now) / 2, certified });
    certified.catch(() => this.#made.delete(worker));
    return certified;
  }
}
