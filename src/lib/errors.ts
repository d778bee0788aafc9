/**
 * The one catalogue of errors a person can see: a stable code, whose fault it is, what happened and how to fix it.
 * `docs/reference/errors.md` is generated from this table. Add an error = add a line.
 */

export type Fault = 'user' | 'system';

interface ErrorSpec {
  readonly fault: Fault;
  /** What happened; `{name}` is replaced by the argument of that name. */
  readonly what: string;
  /** How to fix it; empty when there is nothing a person can do. */
  readonly fix: string;
}

export const CATALOGUE = {
  BadArgument: { fault: 'user', what: '{what}', fix: '{fix}' },
  BadManifests: { fault: 'user', what: '{problems}', fix: '{fix}' },
  FileUnreadable: { fault: 'user', what: 'Cannot read {path}: {cause}', fix: 'Check the path and its permissions.' },
  StackRunning: {
    fault: 'user',
    what: 'A clrk stack already runs in {dir} (process {pid}).',
    fix: 'Stop it with `kill {pid}`, or give this one another directory with --clrk-dir.',
  },
  StackNotRunning: {
    fault: 'user',
    what: 'No clrk stack runs in {dir}.',
    fix: 'Start one with `clrk dev`, or point at another directory with --clrk-dir.',
  },
  StackNotReady: { fault: 'system', what: 'The stack is not ready after {seconds} s: {pending}.', fix: 'Look at the output of `clrk dev`.' },
  NotRoot: { fault: 'user', what: '{command} must run as root: it makes network namespaces and sandboxes.', fix: 'Run it with sudo.' },
  CgroupsUnusable: {
    fault: 'user',
    what: 'The limits of runs cannot be enforced: no cgroup controllers {missing} in one hierarchy (found {found}).',
    fix: 'Mount cgroup v2 at /sys/fs/cgroup, writable and with the controllers cpu, memory and pids, or the version 1 hierarchies of the three.',
  },
  CannotIsolate: {
    fault: 'system',
    what: 'This machine does not let clrk {what}: {cause}',
    fix: 'clrk dev needs real root: mount namespaces, bind mounts, and uids that are mapped. In a container, give it CAP_SYS_ADMIN and all ids.',
  },
  NotForOthers: {
    fault: 'user',
    what: 'Other users cannot use {path}, and each process of a stack is a user of its own.',
    fix: 'Make the checkout and the tools readable: chmod -R go+rX on the directory of that file.',
  },
  ToolMissing: { fault: 'user', what: 'The tool {tool} is missing.', fix: 'Run `./clrk setup`, which installs it.' },
  ToolBroken: { fault: 'system', what: '{tool} does not work: {cause}', fix: 'Remove {path} and run `./clrk setup`.' },
  SetupFailed: { fault: 'system', what: 'Setting up {step} failed: {cause}', fix: '{fix}' },
  ApiRefused: { fault: 'user', what: '{what}', fix: '' },
  ApiUnreachable: { fault: 'system', what: 'The API server at {url} does not answer: {cause}', fix: 'Is `clrk dev` running? See `clrk dev wait-ready`.' },
  ImageNotFound: {
    fault: 'user',
    what: 'Image {image} is not in the local image store.',
    fix: 'Build it with `clrk image build -t {image} DIR`.',
  },
  ImageBuildFailed: { fault: 'user', what: 'Building {image} from {dir} failed: {cause}', fix: '{fix}' },
  ChildFailed: { fault: 'system', what: '{command} ended with {outcome}: {stderr}', fix: '' },
  AgentNotFound: { fault: 'user', what: 'There is no TaskAgent {agent}.', fix: 'Check namespace and name with `clrk agents list`.' },
  RevisionNotFound: {
    fault: 'user',
    what: 'Agent {agent} has no revision {revision}.',
    fix: 'It has: {known}.',
  },
  InvocationNotFound: {
    fault: 'user',
    what: 'TaskAgent {agent} has no invocation {invocation}.',
    fix: 'List its invocations with `clrk agents invocations {name} -n {namespace}`.',
  },
  AgentNotReady: { fault: 'user', what: 'TaskAgent {agent} cannot run: {message}', fix: 'See its conditions.' },
  AgentBusy: { fault: 'user', what: '{message}', fix: 'Try again later, or raise maxConcurrent or the size of the worker pool.' },
  BadTrigger: { fault: 'user', what: '{message}', fix: '' },
  BodyTooLarge: { fault: 'user', what: 'The request body is larger than {limit} bytes.', fix: 'Send a smaller body.' },
  CallerRefused: { fault: 'user', what: '{message}', fix: 'Call the ingress by its own address, and not from a web page.' },
  InvocationConflict: { fault: 'user', what: '{message}', fix: 'Use another invocation id.' },
  MethodNotAllowed: { fault: 'user', what: 'An agent is triggered with POST, not with {method}.', fix: 'Use POST.' },
  Overloaded: {
    fault: 'user',
    what: 'The ingress holds as many bytes of requests and answers as it may.',
    fix: 'Try again later; callers that send or read slowly make room when they are done.',
  },
  PathNotFound: {
    fault: 'user',
    what: 'Nothing is served here; an agent is triggered with POST /NAMESPACE/AGENT, or POST / with the header X-Clrk-TaskAgent: NAMESPACE/AGENT.',
    fix: '',
  },
  RunTimeout: { fault: 'user', what: 'Invocation {invocation} ended Timeout: {message}', fix: 'Raise spec.timeout of the agent.' },
  StoreUnusable: {
    fault: 'system',
    what: 'The record store in {dir} does not open: {cause}',
    fix: 'See that the disk has space and no other clrk uses the directory. If it is damaged, move it away: records start anew.',
  },
  RunFailed: { fault: 'user', what: 'Invocation {invocation} ended {phase}: {message}', fix: '' },
  Internal: { fault: 'system', what: '{what}', fix: 'This is a defect in clrk; please report it with the log.' },
} as const satisfies Record<string, ErrorSpec>;

export type ErrorCode = keyof typeof CATALOGUE;
export type ErrorArgs = Readonly<Record<string, string | number>>;

const fill = (template: string, args: ErrorArgs): string => template.replace(/\{(\w+)\}/g, (_, name: string) => String(args[name] ?? ''));

/** An error with a code of the catalogue. `message` says what; `fix` says what to do about it. */
export class ClrkError extends Error {
  readonly code: ErrorCode;
  readonly fault: Fault;
  readonly fix: string;

  constructor(code: ErrorCode, args: ErrorArgs = {}, options?: ErrorOptions) {
    super(fill(CATALOGUE[code].what, args), options);
    this.name = 'ClrkError';
    this.code = code;
    this.fault = CATALOGUE[code].fault;
    this.fix = fill(CATALOGUE[code].fix, args);
  }
}

/** The message of anything that was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** The `code` of a Node system error (`ENOENT`, …), or undefined. */
export const systemCode = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
