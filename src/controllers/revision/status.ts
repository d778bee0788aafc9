import { isProven, type AgentSandboxRevision } from '#api';
import { kubeTime } from '#lib';
import type { ImageState, WorkerReport } from '#model';
import { foldConditions, type Finding } from '../status.ts';

export interface SeenWorker {
  readonly worker: string;
  readonly report: WorkerReport;
  /** When the report came, ms since the epoch. */
  readonly at: number;
}

/** Names of the revisions of the agent that matter. */
export interface Place {
  readonly newest: string | undefined;
  /** What new runs get; undefined when nothing can run. */
  readonly serving: string | undefined;
  /** `spec.revisionName` of the agent. */
  readonly pinned: string | undefined;
}

type Status = NonNullable<AgentSandboxRevision['status']>;

/** `lastHeartbeat` is written at most this often: a status write for every heartbeat of every worker buys nothing. */
const HEARTBEAT_MS = 60_000;

const readiness = (states: readonly (ImageState | undefined)[], ready: number, pool: string): Finding => {
  if (ready > 0)
    return {
      type: 'Ready',
      status: 'True',
      reason: 'SandboxStarts',
      message: `The image is unpacked on ${ready} of ${states.length} workers, and a sandbox of it starts.`,
    };
  const failed = states.find((state) => state?.reason);
  if (failed) return { type: 'Ready', status: 'False', reason: failed.reason, message: failed.message || failed.reason };
  if (states.length === 0) return { type: 'Ready', status: 'False', reason: 'NoWorker', message: `No worker of WorkerPool ${pool} is connected.` };
  return { type: 'Ready', status: 'False', reason: 'ImagePending', message: 'No worker has unpacked the image and started a sandbox of it yet.' };
};

const activity = (name: string, ready: boolean, { newest, serving, pinned }: Place): Finding => {
  const no = (reason: string, message: string): Finding => ({ type: 'Active', status: 'False', reason, message });
  if (name === serving) return { type: 'Active', status: 'True', reason: 'Serving', message: 'New runs of the agent get this revision.' };
  if (name === pinned) return no('Pending', 'The agent pins this revision, and nothing runs until it is ready.');
  if (pinned !== undefined) return no('NotPinned', `The agent pins revision ${pinned}.`);
  if (name === newest && !ready) return no('Pending', `It serves as soon as it is ready.${serving ? ` Revision ${serving} serves meanwhile.` : ''}`);
  return no('Retired', serving ? `Revision ${serving} serves.` : 'A newer revision has taken over.');
};

const heartbeat = (old: string | undefined, at: number): string => (old !== undefined && at - Date.parse(old) < HEARTBEAT_MS ? old : kubeTime(at));

/**
 * Status of a revision that workers of `pool` should be able to run. The digest of the first one that can is kept for good:
 * wherever the name of the image points later, this is what the revision runs, and a worker with other content is not ready.
 */
export const preparedStatus = (
  revision: AgentSandboxRevision,
  workers: readonly SeenWorker[],
  { pool, place, runsOn, now }: { readonly pool: string; readonly place: Place; readonly runsOn: (worker: string) => number; readonly now: string },
): Status => {
  const key = `${revision.metadata.namespace}/${revision.metadata.name}`;
  const states = workers.map(({ report }) => report.images.find((image) => image.revision === key));
  const known = new Map(revision.status?.workers?.map((worker) => [worker.podName, worker]));
  const imageDigest = revision.status?.imageDigest ?? states.find((state) => state?.ready)?.digest;
  const isReady = (state: ImageState | undefined): boolean => state?.ready === true && state.digest === imageDigest;
  const ready = states.filter(isReady).length;
  return {
    ...(imageDigest !== undefined && { imageDigest }),
    readyWorkers: ready,
    workers: workers.map(({ worker, report, at }, index) => ({
      podName: worker,
      imagePulled: Boolean(states[index]?.digest),
      warmCount: report.warm.find((state) => state.revision === key)?.ready ?? 0,
      activeExecutions: runsOn(worker),
      lastHeartbeat: heartbeat(known.get(worker)?.lastHeartbeat, at),
    })),
    conditions: foldConditions(
      revision.status?.conditions,
      [readiness(states, ready, pool), activity(revision.metadata.name, ready > 0, place)],
      now,
      revision.metadata.generation,
    ),
  };
};

/** Status of a revision that no worker keeps ready. */
export const retiredStatus = (revision: AgentSandboxRevision, place: Place, now: string): Status => {
  const { imageDigest } = revision.status ?? {};
  const ready: Finding = isProven(revision)
    ? { type: 'Ready', status: 'Unknown', reason: 'Retired', message: 'It was ready; workers do not keep it so. It can be pinned.' }
    : { type: 'Ready', status: 'False', reason: 'Retired', message: 'It never became ready, and a newer revision has taken its place.' };
  return {
    ...(imageDigest !== undefined && { imageDigest }),
    readyWorkers: 0,
    workers: [],
    conditions: foldConditions(revision.status?.conditions, [ready, activity(revision.metadata.name, false, place)], now, revision.metadata.generation),
  };
};
