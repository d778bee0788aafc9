import { agentSandboxRevisions, daemonAgents, invocations, LABELS, namespaces, taskAgents, workerPools } from '#api';
import type { Client, ListOptions, ResourceKind } from '#kube';
import type { CommandSpec, Completes, FlagSpec, GlobalFlags } from './command.ts';
import type { Io } from './output.ts';
import { KNOWN, resourceOf } from './resources.ts';
import { targetOf, type Target } from './target.ts';

/** What a shell may offer for the word under the cursor. */

export interface Candidate {
  readonly value: string;
  readonly about: string;
}

export interface Completion {
  readonly candidates: readonly Candidate[];
  /** Paths too, which the shell finds itself. */
  readonly paths?: 'file' | 'directory';
}

export interface Tree {
  readonly commands: readonly CommandSpec[];
  readonly groups: Readonly<Record<string, { readonly summary: string; readonly aliases?: readonly string[] }>>;
  /** Flags of every command. */
  readonly globals: readonly FlagSpec[];
}

/** Where the cursor is. */
interface Cursor {
  readonly spec: CommandSpec | undefined;
  /** Words that name the command so far. */
  readonly path: readonly string[];
  readonly args: readonly string[];
  readonly flags: ReadonlyMap<string, string>;
  /** A flag whose value comes next. */
  readonly open: FlagSpec | undefined;
  /** After `--`, nothing is a flag. */
  readonly plain: boolean;
}

const HELP: FlagSpec = { name: 'help', short: 'h', help: 'display help' };

const nameMatches = (spec: CommandSpec, word: string): boolean => spec.path.at(-1) === word || (spec.aliases ?? []).includes(word);

/** The word of a path that `word` stands for at a level of the tree, if any. */
const stepOf = ({ commands, groups }: Tree, path: readonly string[], word: string): string | undefined => {
  if (path.length === 0) {
    const group = Object.keys(groups).find((name) => name === word || groups[name]!.aliases?.includes(word));
    if (group) return group;
  }
  return commands
    .filter(({ path: full }) => full.length > path.length && path.every((part, i) => full[i] === part))
    .find((spec) => spec.path[path.length] === word || (spec.path.length === path.length + 1 && nameMatches(spec, word)))?.path[path.length];
};

const commandAt = ({ commands }: Tree, path: readonly string[]): CommandSpec | undefined =>
  commands.find((spec) => spec.path.length === path.length && spec.path.every((part, i) => part === path[i]));

const flagsOf = (tree: Tree, spec: CommandSpec | undefined): readonly FlagSpec[] => [...(spec?.flags ?? []), ...tree.globals, HELP];

/** Reads the words before the cursor. */
const cursorAfter = (tree: Tree, words: readonly string[]): Cursor => {
  let cursor: Cursor = { spec: undefined, path: [], args: [], flags: new Map(), open: undefined, plain: false };
  for (const word of words) {
    const { spec, path, args, flags, open, plain } = cursor;
    if (open) cursor = { ...cursor, open: undefined, flags: new Map(flags).set(open.name, word) };
    else if (word === '--') cursor = { ...cursor, plain: true };
    else if (!plain && word.startsWith('-') && word !== '-') {
      const [, name = '', value] = /^--?([^=]*)(?:=(.*))?$/s.exec(word)!;
      const flag = flagsOf(tree, spec).find((candidate) => (word.startsWith('--') ? candidate.name === name : candidate.short === name));
      if (flag && value !== undefined) cursor = { ...cursor, flags: new Map(flags).set(flag.name, value) };
      else cursor = { ...cursor, open: flag?.value ? flag : undefined };
    } else {
      const step = args.length === 0 ? stepOf(tree, path, word) : undefined;
      if (step === undefined) cursor = { ...cursor, args: [...args, word] };
      else cursor = { ...cursor, path: [...path, step], spec: commandAt(tree, [...path, step]) ?? spec };
    }
  }
  return cursor;
};

const subcommands = ({ commands, groups }: Tree, path: readonly string[]): Candidate[] => {
  const found = new Map<string, string>();
  for (const spec of commands) {
    if (spec.hidden || spec.path.length <= path.length || !path.every((part, i) => spec.path[i] === part)) continue;
    const word = spec.path[path.length]!;
    if (spec.path.length === path.length + 1) found.set(word, spec.summary);
    else if (!found.has(word)) found.set(word, groups[word]?.summary ?? '');
  }
  return [...found].map(([value, about]) => ({ value, about }));
};

/** How long the API may take; a shell that hangs is worse than one that offers less. */
const API_MS = 1_000;
const MAX_NAMES = 500;

const KINDS_OF: Readonly<Record<string, readonly ResourceKind[]>> = {
  agent: [taskAgents, daemonAgents],
  taskagent: [taskAgents],
  workerpool: [workerPools],
  invocation: [invocations],
  revision: [agentSandboxRevisions],
  namespace: [namespaces],
};

const namesOf = async (
  { client, namespace: own }: Target,
  kinds: readonly ResourceKind[],
  flags: ReadonlyMap<string, string>,
  signal: AbortSignal,
  labelSelector?: string,
): Promise<Candidate[]> => {
  const namespace = flags.get('namespace') ?? own;
  const options: ListOptions = { limit: MAX_NAMES, signal, ...(labelSelector && { labelSelector }) };
  const lists = await Promise.all(kinds.map(async (kind) => (await client.list(kind, kind.namespaced ? { ...options, namespace } : options)).items));
  return lists.flatMap((items, i) => items.map(({ metadata }) => ({ value: metadata.name, about: kinds[i]!.kind })));
};

/** Names of the objects of the kind that comes before, as `NAME` or, while there is a slash, as `KIND/NAME`. */
const objectNames = async (target: Target, { args, flags }: Cursor, word: string, signal: AbortSignal): Promise<Candidate[]> => {
  const slash = word.indexOf('/');
  const kindWord = slash > 0 ? word.slice(0, slash) : args[0]!;
  const names = await namesOf(target, [await resourceOf(target.client as Client, kindWord)], flags, signal);
  return slash > 0 ? names.map(({ value, about }) => ({ value: `${kindWord}/${value}`, about })) : names.filter(({ value }) => !args.includes(value));
};

/** `NAME`, or `NAMESPACE/NAME` once there is a slash; before it, namespaces too. */
const placedAgents = async (target: Target, { flags }: Cursor, word: string, signal: AbortSignal): Promise<Candidate[]> => {
  const agents = KINDS_OF['agent']!;
  const slash = word.indexOf('/');
  if (slash <= 0) {
    const [names, places] = await Promise.all([namesOf(target, agents, flags, signal), namesOf(target, [namespaces], flags, signal)]);
    return [...names, ...(word === '' ? [] : places.map(({ value, about }) => ({ value: `${value}/`, about })))];
  }
  const namespace = word.slice(0, slash);
  const names = await namesOf(target, agents, new Map(flags).set('namespace', namespace), signal);
  return names.map(({ value, about }) => ({ value: `${namespace}/${value}`, about }));
};

const kindWords = (): Candidate[] => KNOWN.map(({ plural, kind }) => ({ value: plural, about: kind }));

/** Words from the API; none when there is no API, or it does not answer in time. */
const fromApi = async (open: () => Promise<Target>, ask: (target: Target, signal: AbortSignal) => Promise<Candidate[]>): Promise<Candidate[]> => {
  const signal = AbortSignal.timeout(API_MS);
  const late = new Promise<Candidate[]>((resolve) => signal.addEventListener('abort', () => resolve([]), { once: true }));
  const asked = async (): Promise<Candidate[]> => {
    const target = await open();
    try {
      return await ask(target, signal);
    } finally {
      await target.client[Symbol.asyncDispose]();
    }
  };
  return Promise.race([asked().catch(() => []), late]);
};

const valuesOf = async (completes: Completes | undefined, cursor: Cursor, word: string, open: () => Promise<Target>): Promise<Completion> => {
  if (completes === undefined) return { candidates: [] };
  if (completes === 'file' || completes === 'directory') return { candidates: [], paths: completes };
  if (typeof completes !== 'string') return { candidates: completes.map((value) => ({ value, about: '' })) };
  if (completes === 'kind' && !word.includes('/')) return { candidates: kindWords() };
  if (completes === 'kind' || completes === 'object') return { candidates: await fromApi(open, (target, signal) => objectNames(target, cursor, word, signal)) };
  if (completes === 'placed-agent') return { candidates: await fromApi(open, (target, signal) => placedAgents(target, cursor, word, signal)) };
  const ofAgent = completes === 'revision' ? `${LABELS.agent}=${cursor.args[0]?.replace(/.*\//, '')}` : undefined;
  return { candidates: await fromApi(open, (target, signal) => namesOf(target, KINDS_OF[completes]!, cursor.flags, signal, ofAgent)) };
};

/** Characters that mean something to a shell are never offered: names of the API have none of them. */
const isPlain = ({ value }: Candidate): boolean => /^[\w./:@=,+-]+$/.test(value);

/**
 * Completes the last of `words`, which may be empty. `env` and flags among the words say which API is asked for names.
 * Never throws: what cannot be found out is not offered.
 */
export const complete = async (
  tree: Tree,
  words: readonly string[],
  io: Io,
  globalsOf: (flags: ReadonlyMap<string, string>) => GlobalFlags,
): Promise<Completion> => {
  const word = words.at(-1) ?? '';
  const cursor = cursorAfter(tree, words.slice(0, -1));
  const open = (): Promise<Target> => targetOf(globalsOf(cursor.flags), io);
  const offer = ({ candidates, paths }: Completion, prefix = ''): Completion => ({
    candidates: candidates
      .map(({ value, about }) => ({ value: prefix + value, about }))
      .filter((candidate) => candidate.value.startsWith(word) && isPlain(candidate)),
    ...(paths && { paths }),
  });
  if (cursor.open) return offer(await valuesOf(cursor.open.complete, cursor, word, open));
  const assigned = cursor.plain ? null : /^--([^=]+)=/.exec(word);
  if (assigned) {
    const flag = flagsOf(tree, cursor.spec).find(({ name }) => name === assigned[1]);
    return offer(await valuesOf(flag?.complete, cursor, word.slice(assigned[0].length), open), assigned[0]);
  }
  if (!cursor.plain && word.startsWith('-')) {
    const given = (flag: FlagSpec): boolean => cursor.flags.has(flag.name) && !flag.repeatable;
    return offer({
      candidates: flagsOf(tree, cursor.spec)
        .filter((flag) => !given(flag))
        .map(({ name, help }) => ({ value: `--${name}`, about: help })),
    });
  }
  const args = cursor.spec?.args ?? [];
  const arg = args[cursor.args.length] ?? (args.at(-1)?.variadic ? args.at(-1) : undefined);
  const below = cursor.args.length === 0 ? subcommands(tree, cursor.path) : [];
  const values = await valuesOf(arg?.complete, cursor, word, open);
  return offer({ ...values, candidates: [...below, ...values.candidates] });
};
