const MICRO = 1_000_000;

/** Millionths of a US dollar for people, with at least two digits behind the point: `$2.50`, `$0.000042`. */
export const formatMicrodollars = (microdollars: number): string => `$${(microdollars / MICRO).toFixed(6).replace(/(\.\d\d\d*?)0+$/, '$1')}`;
