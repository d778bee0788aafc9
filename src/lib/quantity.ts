const SUFFIX: Readonly<Record<string, number>> = {
  '': 1,
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/**
 * The value of a Kubernetes quantity (`500m` = 0.5, `512Mi`, `1e3`, or a plain number), or undefined when it is not one.
 * Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
 */
export const parseQuantity = (quantity: string | number): number | undefined => {
  const match = /^([+-]?)(\d+\.?\d*|\.\d+)(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)$/.exec(String(quantity));
  if (!match) return undefined;
  const [, sign, digits, exponent = '', suffix = ''] = match;
  const value = exponent ? Number(`${digits}${exponent}`) : suffix === 'm' ? Number(digits) / 1000 : Number(digits) * SUFFIX[suffix]!;
  if (!Number.isFinite(value)) return undefined;
  return sign === '-' ? -value : value;
};
