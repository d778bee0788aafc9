import type { CaAuthority } from './ca-secret.ts';

/**
 * How a gateway changes its root without a handshake that fails:
 *
 *   1. `Trusting`: new sandboxes trust both roots, the old one signs. Over when no sandbox is left that lacks the new one.
 *   2. `Signing`: the new one signs, new sandboxes trust both. Over when no egress signs under the old one any more.
 *   3. The new one is the only one.
 */

/** What is kept of a gateway over restarts. */
export interface Standing {
  /** What signs. */
  readonly inForce: CaAuthority;
  /** The root before, while an egress may still sign under it. */
  readonly previousRoot?: string;
}

/** What is asked of those who sign and those who trust. */
export interface Observed {
  readonly now: number;
  /** Whether every sandbox, and every one that is made from now on, trusts the root. */
  trusted(rootPem: string): boolean;
  /** Whether every egress signs under the root. */
  signing(rootPem: string): boolean;
}

export type Phase = 'Trusting' | 'Signing';

export const isValidAt = ({ notBefore, notAfter }: CaAuthority, now: number): boolean => now >= notBefore && now < notAfter;

/** The next standing; the same object when nothing is to be done. `wanted` is absent while what should sign cannot be used. */
export const advance = (standing: Standing, wanted: CaAuthority | undefined, observed: Observed): Standing => {
  const { inForce, previousRoot } = standing;
  const settled: Standing = previousRoot !== undefined && observed.signing(inForce.rootPem) ? { inForce } : standing;
  if (!wanted || wanted.source === inForce.source) return settled;
  // Another key below the same root: every sandbox trusts it already.
  if (wanted.rootPem === inForce.rootPem) return { ...settled, inForce: wanted };
  // Nobody believes what is not valid; those who lack the new root have nothing to lose.
  const mayChange = settled.previousRoot === undefined && observed.trusted(wanted.rootPem);
  return mayChange || !isValidAt(inForce, observed.now) ? { inForce: wanted, previousRoot: inForce.rootPem } : settled;
};

/** Roots for new sandboxes, in an order that does not change from one phase to the next. */
export const trustedRoots = ({ inForce, previousRoot }: Standing, wanted: CaAuthority | undefined): readonly string[] => [
  ...new Set([...(previousRoot === undefined ? [] : [previousRoot]), inForce.rootPem, ...(wanted ? [wanted.rootPem] : [])]),
];

export const phaseOf = ({ inForce, previousRoot }: Standing, wanted: CaAuthority | undefined): Phase | undefined => {
  if (previousRoot !== undefined) return 'Signing';
  return wanted && wanted.rootPem !== inForce.rootPem ? 'Trusting' : undefined;
};
