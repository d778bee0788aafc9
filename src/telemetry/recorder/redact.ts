/**
 * The one place where text of a record is made fit to keep: bounded, printable, and without anything that looks like a
 * credential. Formats upstream already leave out queries and headers; this is the second lock.
 */

/** Longest text of a field, in UTF-16 code units; what is cut is marked with `…`. */
export const MAX_TEXT = 1_024;

/** What is looked at; the rest could not be kept anyway. */
const MAX_READ = 8 * MAX_TEXT;

const MASK = '[redacted]';
const SECRETS: readonly RegExp[] = [
  // keys with a well-known prefix: OpenAI, Anthropic, Stripe (sk-, sk_, pk_, rk_), GitHub, GitLab, Slack, Google, AWS
  /(?<![A-Za-z0-9])(?:sk|pk|rk)[-_][A-Za-z0-9_-]{12,}/gi,
  /(?<![A-Za-z0-9])(?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|AIza|ya29\.)[A-Za-z0-9_.-]{10,}/g,
  /(?<![A-Za-z0-9])(?:AKIA|ASIA)[0-9A-Z]{16}/g,
  // JSON Web Tokens (`eyJ` is `{"` in base64)
  /eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+){0,4}/g,
  // values of an Authorization header
  /(?:bearer|basic|token)(?:\s|\+|%20|%09)+[A-Za-z0-9+/=_.~%-]{6,}/gi,
];

const masked = (text: string): string => SECRETS.reduce((kept, pattern) => kept.replace(pattern, MASK), text);

/** Percent-decoding that never throws; bytes that are no UTF-8 stay as they are. */
const decoded = (text: string): string =>
  text.replace(/(?:%[0-9a-f]{2})+/gi, (run) => {
    try {
      return decodeURIComponent(run);
    } catch {
      return run;
    }
  });

/** Control characters, also of C1, bidirectional overrides and lone surrogates, as `\u….`: one record is one line on every terminal. */
const printable = (text: string): string =>
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]|\p{Cs}/gu, escaped);
const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

const bounded = (text: string): string => (text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT - 1).toWellFormed()}…`);

/** Text we made ourselves (ids, names of objects): bounded and printable. */
export const plain = (text: string): string => bounded(printable(text));

/** A field whose decoded form shows a credential that its raw form hides is masked whole. */
const hides = (kept: string): boolean => {
  const open = decoded(decoded(kept));
  return open !== kept && masked(open) !== open;
};

/**
 * A line a run printed: without credentials, else as it is, also its control characters (who prints it makes them visible).
 * A key that was cut in two with its line (at 8 KiB) is not recognised; agents never hold one that a gateway injects.
 */
export const redactLine = (line: string): string => {
  const kept = masked(line.toWellFormed());
  return hides(kept) ? MASK : kept;
};

/**
 * Text an agent or a provider can influence: also without credentials. Masking goes first, so that no cut leaves the half of a key that no longer looks like one.
 */
export const redact = (text: string): string => {
  const kept = masked(text.slice(0, MAX_READ));
  return hides(kept) ? MASK : plain(kept);
};
