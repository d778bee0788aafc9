import { ClrkError, parseDuration } from '#lib';
import type { Io } from './output.ts';

/** Flags every command has. */
export interface GlobalFlags {
  /** State directory, absolute. */
  readonly dir: string;
  /** Whether it was chosen (`--clrk-dir` or `CLRK_DIR`) rather than defaulted. */
  readonly dirChosen: boolean;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly local: boolean;
}

export interface CommandContext {
  readonly io: Io;
  readonly global: GlobalFlags;
  readonly args: readonly string[];
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  readonly flag: (name: string) => string | undefined;
  readonly flags: (name: string) => readonly string[];
  readonly has: (name: string) => boolean;
}

/**
 * What a value can be completed from: paths, fixed words, or names that the API has (`object`: of the kind that comes before, `revision`: of the
 * agent, `placed-agent`: an agent by its name, or in any namespace as NAMESPACE/NAME).
 */
export type Completes =
  | 'file'
  | 'directory'
  | 'kind'
  | 'object'
  | 'agent'
  | 'placed-agent'
  | 'taskagent'
  | 'workerpool'
  | 'invocation'
  | 'revision'
  | 'namespace'
  | readonly string[];

export interface FlagSpec {
  /** Long name without dashes. */
  readonly name: string;
  readonly short?: string;
  /** Name of the value; absent = a switch. */
  readonly value?: string;
  readonly repeatable?: boolean;
  readonly default?: string;
  readonly help: string;
  readonly complete?: Completes;
}

/** One command as data: help, reference docs and completion come from the same table. */
export interface CommandSpec {
  /** Words after `clrk`. */
  readonly path: readonly string[];
  readonly aliases?: readonly string[];
  readonly summary: string;
  /** More about it, for `--help` and the reference. */
  readonly details?: string;
  readonly args?: readonly {
    readonly name: string;
    readonly help: string;
    readonly optional?: boolean;
    readonly variadic?: boolean;
    readonly complete?: Completes;
  }[];
  readonly flags?: readonly FlagSpec[];
  readonly examples: readonly string[];
  /** Not in help: for our own use. */
  readonly hidden?: boolean;
  /** Exit code; undefined = 0. Throw a ClrkError for a failure with a text of the catalogue. */
  readonly run: (context: CommandContext) => Promise<number | void>;
}

export const NAMESPACE_FLAG: FlagSpec = {
  name: 'namespace',
  short: 'n',
  value: 'NAMESPACE',
  help: "namespace (default: the context's, then `default`)",
  complete: 'namespace',
};

/** RFC 3339 time of `10m` ago or of a time as it is. */
export const sinceOf = (text: string): string => {
  const ms = parseDuration(text);
  if (ms !== undefined) return new Date(Date.now() - ms).toISOString();
  // As it is, because it may have nanoseconds.
  if (!Number.isNaN(Date.parse(text))) return /T.*(?:Z|[+-]\d\d:\d\d)$/.test(text) ? text : new Date(text).toISOString();
  throw new ClrkError('BadArgument', {
    what: `--since ${text} is neither a duration nor a time.`,
    fix: 'For example: --since 10m, --since 2026-11-24T09:00:00Z',
  });
};
