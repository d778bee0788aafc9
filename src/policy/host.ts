const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const ASCII = /^[\x21-\x7e]+$/;

/**
 * The one spelling of a host name that policy, DNS, leaves and dialling use: lower case, no trailing dot, no port.
 * Undefined for anything that is not a plain LDH name (RFC 1123): NUL, userinfo, percent-encoding, non-ASCII, brackets, and
 * every spelling of an IPv4 address (a name whose last label is a number is an address to a URL parser).
 * Source: https://url.spec.whatwg.org/#ends-in-a-number-checker
 */
export const canonicalHost = (text: string): string | undefined => {
  // Checked before lowering: U+212A (Kelvin) lowers to an ASCII "k".
  if (!ASCII.test(text)) return undefined;
  const name = text
    .toLowerCase()
    .replace(/:\d{1,5}$/, '')
    .replace(/\.$/, '');
  if (name.length > 253) return undefined;
  const labels = name.split('.');
  if (!labels.every((label) => LABEL.test(label))) return undefined;
  return /^(?:\d+|0x[0-9a-f]*)$/.test(labels.at(-1)!) ? undefined : name;
};

/** The port an authority names, or undefined when it names none. Meaningful only for what `canonicalHost` accepts. */
export const portOf = (authority: string): number | undefined => {
  const match = /:(\d{1,5})$/.exec(authority);
  return match ? Number(match[1]) : undefined;
};
