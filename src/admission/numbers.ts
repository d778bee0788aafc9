/**
 * Whether a whole number is kept as Kubernetes keeps it: digit by digit up to 64 bits, beyond that as a double. Ours are all
 * doubles, and a number that would become another is refused.
 */
export const isExact = (literal: string): boolean => {
  if (!/^[+-]?\d{16,20}$/.test(literal)) return true;
  const value = BigInt(literal.replace('+', ''));
  return BigInt.asIntN(64, value) !== value || BigInt(Number(value)) === value;
};
