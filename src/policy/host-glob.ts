/** Host names by pattern: `*` stands for `[a-z0-9-]+` inside one label, so a pattern has as many labels as the names it covers. */

const LABEL = /^(?:[a-z0-9*](?:[a-z0-9*-]{0,61}[a-z0-9*])?)$/;
const cache = new Map<string, RegExp>();

export const isHostGlob = (host: string): boolean => host.includes('*');

/** The one spelling of a host pattern, or undefined for what is none. Its last label is a name, and no label is longer than one of a name. */
export const canonicalHostGlob = (text: string): string | undefined => {
  const pattern = text.toLowerCase();
  // Checked before lowering: other letters lower to ASCII ones.
  // oxlint-disable-next-line no-control-regex -- what is not ASCII is excluded by range
  if (!/^[\x21-\x7e]{1,253}$/.test(text)) return undefined;
  const labels = pattern.split('.');
  return labels.length > 1 && labels.every((label) => LABEL.test(label)) && /^[a-z][a-z0-9-]*$/.test(labels.at(-1)!) ? pattern : undefined;
};

const regexOf = (glob: string): RegExp => {
  let regex = cache.get(glob);
  if (!regex) {
    if (cache.size > 10_000) cache.clear();
    regex = new RegExp(`^${glob.replaceAll('.', '\\.').replaceAll(/\*+/g, '[a-z0-9-]+')}$`);
    cache.set(glob, regex);
  }
  return regex;
};

/** Whether a pattern covers a canonical name. */
export const hostMatches = (glob: string, host: string): boolean => (isHostGlob(glob) ? regexOf(glob).test(host) : glob === host);
