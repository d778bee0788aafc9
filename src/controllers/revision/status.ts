import type { AgentSandboxRevision } from '#api';
import { kubeTime } from '#lib';
import type { ImageState, WorkerReport } from '#model';
import { foldConditions, type Finding } from '../status.ts';

export interface SeenWorker {
  readonly worker: string;
  readonly report: WorkerReport;
  /** When the report came, ms since the epoch. */
  readonly at: number;
}

type Status = NonNullable<AgentSandboxRevision['status']>;

/** `lastHeartbeat` is written at most this often: a status write for every heartbeat of every worker buys nothing. */
const HEARTBEAT_MS = 60_000;

const readiness = (states: readonly (ImageState | undefined)[], pool: string): Finding => {
  const ready = states.filter((state) => state?.ready).length;
  if (ready > 0) return { type: 'Ready', status: 'True', reason: 'ImageReady', message: `The image is unpacked on ${ready} of ${states.length} workers.` };
  const failed = states.find((state) => state?.reason);
  if (failed) return { type: 'Ready', status: 'False', reason: failed.reason, message: failed.message || failed.reason };
  if (states.length === 0) return { type: 'Ready', status: 'False', reason: 'NoWorker', message: `No worker of WorkerPool ${pool} is connected.` };
  return { type: 'Ready', status: 'False', reason: 'ImagePending', message: 'No worker has unpacked the image yet.' };
};

const heartbeat = (old: string | undefined, at: number): string => (old !== undefined && at - Date.parse(old) < HEARTBEAT_MS ? old : kubeTime(at));

/** Status of a revision that workers of `pool` should have. */
export const servingStatus = (revision: AgentSandboxRevision, workers: readonly SeenWorker[], pool: string, now: string): Status => {
  const key = `${revision.metadata.namespace}/${revision.metadata.name}`;
  const states = workers.map(({ report }) => report.images.find((image) => image.revision === key));
  const known = new Map(revision.status?.workers?.map((worker) => [worker.podName, worker]));
  return {
    readyWorkers: states.filter((state) => state?.ready).length,
    workers: workers.map(({ worker, report, at }, index) => ({
      podName: worker,
      imagePulled: states[index]?.ready ?? false,
      warmCount: report.warm.find((state) => state.revision === key)?.ready ?? 0,
      lastHeartbeat: heartbeat(known.get(worker)?.lastHeartbeat, at),
    })),
    conditions: foldConditions(
      revision.status?.conditions,
      [readiness(states, pool), { type: 'Active', status: 'True', reason: 'Serving', message: 'Workers keep the image of this revision.' }],
      now,
      revision.metadata.generation,
    ),
  };
};

/** Status of a revision that no worker needs any more. */
export const retiredStatus = (revision: AgentSandboxRevision, now: string): Status => ({
  readyWorkers: 0,
  workers: [],
  conditions: foldConditions(
    revision.status?.conditions,
    [
      { type: 'Ready', status: 'False', reason: 'Retired', message: 'A newer revision has taken over.' },
      { type: 'Active', status: 'False', reason: 'Retired', message: 'A newer revision has taken over.' },
    ],
    now,
    revision.metadata.generation,
  ),
});
