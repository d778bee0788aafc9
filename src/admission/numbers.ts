/** Beyond this, nobody means a number. */
const MAX_DIGITS = 400;

/** Whether a whole number is kept digit by digit; ours are doubles, and one that would become another is refused. */
export const isExact = (literal: string): boolean => {
  if (!/^[+-]?\d{16,}$/.test(literal)) return true;
  return literal.length <= MAX_DIGITS && BigInt(literal.replace('+', '')) === BigInt(Number(literal));
};
