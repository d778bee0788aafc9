import { canonicalJson, sha256Hex } from '#lib';

/** Records of the way of one run: trigger -> Invocation -> Assignment -> Run. Wire messages have the same shapes. */

export const PHASES = ['Pending', 'Dispatched', 'Running', 'Succeeded', 'Failed', 'Timeout', 'Rejected'] as const;
export type Phase = (typeof PHASES)[number];
export const isTerminal = (phase: Phase): boolean => phase === 'Succeeded' || phase === 'Failed' || phase === 'Timeout' || phase === 'Rejected';

/** Legal moves; one-way, the last four phases are terminal. */
export const NEXT_PHASES: Readonly<Record<Phase, readonly Phase[]>> = {
  Pending: ['Dispatched', 'Rejected'],
  Dispatched: ['Running', 'Failed', 'Timeout'],
  Running: ['Succeeded', 'Failed', 'Timeout'],
  Succeeded: [],
  Failed: [],
  Timeout: [],
  Rejected: [],
};

export type TriggerType = 'HTTP' | 'Cron' | 'CLI';

/** One accepted or rejected request to run an agent, as the journal keeps it. Times are milliseconds since the epoch. */
export interface Invocation {
  /** Invocation id: a canonical UUID, also the CloudEvent id. */
  readonly id: string;
  readonly namespace: string;
  readonly agent: string;
  readonly trigger: TriggerType;
  readonly source: string;
  /** SHA-256 of the request body: a repeat of the id with another body is refused. */
  readonly bodyHash: string;
  readonly traceId: string;
  readonly phase: Phase;
  /** A word for why (`OOMKilled`, `WorkerLost`, `NoReadyRevision`, …); empty while all is well. */
  readonly reason: string;
  readonly message: string;
  readonly revision: string;
  readonly worker: string;
  readonly createdAt: number;
  readonly dispatchedAt?: number;
  readonly startedAt?: number;
  readonly finishedAt?: number;
  /** Trigger accepted to first stdout byte, in milliseconds. */
  readonly firstByteMs?: number;
  readonly exitCode?: number;
  readonly outputBytes?: number;
  /** How long it waited for a slot, in milliseconds; absent when it got one at once, and while it waits. */
  readonly queuedMs?: number;
  readonly conditions?: RunConditions;
}

/** Reason of an invocation that is Pending because it waits for a slot. */
export const QUEUED = 'Queued';

export interface EnvEntry {
  readonly name: string;
  readonly value: string;
}

/** What runs, apart from any one run of it: sandboxes of equal templates differ in nothing but their run. */
export interface RunTemplate {
  readonly namespace: string;
  readonly agent: string;
  readonly revision: string;
  readonly image: string;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly env: readonly EnvEntry[];
  /** Gateways (`namespace/name`) in list order. */
  readonly gateways: readonly string[];
  /** CPUs of the whole sandbox, as a share of time: 0.5 = half of one. */
  readonly cpus: number;
  /** Memory of the whole sandbox, without swap; more ends the run `OOMKilled`. */
  readonly memoryBytes: number;
  /** What its root file system can take in writing, and /tmp once more. All of it is memory. */
  readonly storageBytes: number;
}

/** A name for what a template says; of an assignment only its template counts. */
export const templateKey = ({ namespace, agent, revision, image, command, args, env, gateways, cpus, memoryBytes, storageBytes }: RunTemplate): string =>
  sha256Hex(canonicalJson({ namespace, agent, revision, image, command, args, env, gateways, cpus, memoryBytes, storageBytes } satisfies RunTemplate));

/** What a worker needs to run an invocation once. */
export interface Assignment extends RunTemplate {
  readonly invocation: string;
  readonly timeoutMs: number;
  /** W3C trace context of the run: the trace and the span every outbound call is a child of. */
  readonly traceId: string;
  readonly spanId: string;
  /** The bytes for stdin: a CloudEvents structured-mode envelope. */
  readonly event: Uint8Array;
}

/** Limits a run met, besides how it ended: `CPUThrottled` or `PidsLimited` -> a sentence. */
export type RunConditions = Readonly<Record<string, string>>;

/** How far a run got, as its worker reports it. */
export interface RunUpdate {
  readonly invocation: string;
  readonly phase: 'Running' | 'Succeeded' | 'Failed' | 'Timeout';
  readonly reason: string;
  readonly message: string;
  readonly exitCode?: number;
  /** With a terminal phase: stdout bytes the worker sent in all, so that output lost with a stream cannot pass for complete. */
  readonly outputBytes?: number;
  /** With a terminal phase. */
  readonly conditions?: RunConditions;
}
