import type { CanaryName } from '../fixtures/canary/places.ts';
import type { Step } from './steps.ts';
import type { Part, PolicyChange } from './target.ts';
import type { VariantName } from './variants.ts';

/** One line of the table: data only, so that any proxy can be held against it. Explained in docs/bypass.md. */

export const CLASSES = [
  'identity mismatch',
  'domain fronting',
  'parser differentials',
  'dns',
  'rebinding',
  'other protocols',
  'ech',
  'tunnels',
  'connection reuse',
  'smuggling',
  'paths',
  'redirects',
  'credential secrecy',
  'placeholder abuse',
  'ca',
  'budgets',
  'mcp',
  'identity spoofing',
  'neighbours',
  'through an allowed host',
  'llm requests',
  'another key',
  'log formats',
  'exhaustion',
  'not yet claimed',
  'break-glass',
  'local web pages',
  'failure',
] as const;
export type CaseClass = (typeof CLASSES)[number];

/**
 * How an attempt ended, as the agent sees it.
 *
 * - `http-status`: an HTTP answer; the last one when there are several.
 * - `closed`: the connection was made and then ended without a byte of an upstream.
 * - `tls-refused`: the TLS handshake failed.
 * - `refused`: the connection or datagram was rejected at once.
 * - `stream-reset`: an HTTP/2 stream or session was ended instead of answered.
 * - `unresolved`: no address (NXDOMAIN, REFUSED, or another error of DNS). `no-data`: the name is there, this type is not.
 * - `sinkhole`: an address of the proxy's own. `resolved`: any other address.
 * - `silence`: no answer at all; only datagrams may end so.
 * - `absent`: a file, socket or device that is not there or not to be opened.
 * - `answer`: bytes of the canary. `value`: what the step returned is for the canary to search.
 */
export type OutcomeKind =
  | 'http-status'
  | 'closed'
  | 'tls-refused'
  | 'refused'
  | 'stream-reset'
  | 'unresolved'
  | 'no-data'
  | 'sinkhole'
  | 'resolved'
  | 'silence'
  | 'absent'
  | 'answer'
  | 'value'
  | 'timeout';

export interface Expectation {
  /** Any of these. */
  readonly outcome: OutcomeKind | readonly OutcomeKind[];
  readonly statuses?: readonly number[];
  /** `error.code` of the JSON a denial carries; any of these. */
  readonly code?: string | readonly string[];
  /** A pattern that what was received, or the returned value as JSON, must match. */
  readonly says?: string;
  /** 4,000 when absent: a refusal that has to be waited for is a failure. */
  readonly withinMs?: number;
}

/** What the proxy must have written down about the attempt. */
export interface RecordExpectation {
  readonly protocol?: string | readonly string[];
  /** Any when absent. */
  readonly verdict?: 'Allowed' | 'Denied';
  readonly reason: string | readonly string[];
  readonly host?: string;
}

export interface Attempt {
  readonly given: VariantName;
  /** `outside`: on the machine of the proxy, not in a sandbox. `early`: by a program that has not been given its event. */
  readonly from?: 'outside' | 'early';
  readonly steps: readonly Step[];
  /** Which step is judged; the last one when absent. */
  readonly judge?: number;
}

/** The canary of a case: which must not have seen the attempt, and how much of it would be a leak. */
export interface Watch {
  /** `key`: the real credential, searched in all that the attempt returned. `records`: the proxy's records of it. `neighbour`: another sandbox. */
  readonly name: CanaryName | 'key' | 'records' | 'neighbour';
  /**
   * The attempt may get through, but cleaned: patterns that nothing the canary saw may match. Absent = it sees nothing at all.
   * Of `key` and `records`: what is searched for instead of the credential.
   */
  readonly without?: readonly string[];
  /** Patterns that something the canary saw must match, where the attempt gets through. */
  readonly with?: readonly string[];
  /** How many requests at most may get through. */
  readonly atMost?: number;
}

export interface Case {
  /** `class/name`, unique. */
  readonly id: string;
  readonly class: CaseClass;
  /** One sentence. */
  readonly what: string;
  readonly attempt: Attempt;
  readonly expect: Expectation;
  /** Undefined: nothing the proxy could see happened. */
  readonly record?: RecordExpectation | undefined;
  readonly canary: Watch;
  /** The same with the one thing put right: it gets through and is seen by that canary. */
  readonly twin: {
    readonly attempt: Attempt;
    readonly expect: Expectation;
    readonly record?: RecordExpectation;
    /** Pattern of the sighting; anything of that canary when absent. */
    readonly sees?: string;
  };
  /** A part of the proxy is like this during the attempt; the twin runs before and after it. */
  readonly during?: { readonly part: Part; readonly how: 'frozen' | 'killed' };
  /** The policy is changed while the steps run, and back afterwards. */
  readonly change?: PolicyChange;
  /** Runs in a sandbox of its own: it uses up what cases of one sandbox share. */
  readonly alone?: boolean;
  /** Among the few of `./clrk test`. */
  readonly slice?: boolean;
  /** Left out until the target has this. */
  readonly needs?: 'l4';
}
