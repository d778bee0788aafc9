import { DEFAULT_MAX_EXECUTIONS, workerPools, type TaskAgent, type WorkerPool } from '#api';
import type { WorkerReport } from '#model';
import { warmCapOf, warmShares } from '../agent/warm.ts';
import { enforced, foldConditions, type Finding } from '../status.ts';

/** Fields the server stamps; they are no wish of the user. */
const STAMPED: Readonly<Record<string, unknown>> = { imagePullPolicy: 'IfNotPresent', serviceAccountName: 'clrk-worker' };

const placement = ({ spec: { template } }: WorkerPool): Finding => {
  const without = Object.entries(template)
    .filter(([name, value]) => value !== STAMPED[name])
    .map(([name]) => `spec.template.${name}`);
  return {
    type: 'Placement',
    status: 'False',
    reason: 'OneMachine',
    message: `Workers are processes of this machine; without effect here: ${without.join(', ')}.`,
  };
};

const availability = (ready: number, replicas: number): Finding => {
  const type = 'Available';
  const message = `${ready} of ${replicas} workers are connected.`;
  if (replicas === 0)
    return { type, status: 'False', reason: 'ScaledToZero', message: 'It has no workers, and its agents cannot run: raise spec.replicas from 0.' };
  if (ready > 0) return { type, status: 'True', reason: 'WorkersReady', message };
  return { type, status: 'False', reason: 'NoWorker', message: `${message} One that cannot start says why in the log of the stack.` };
};

const progress = (ready: number, replicas: number, leaving: readonly WorkerReport[]): Finding => {
  const type = 'Progressing';
  const message = `${ready} of ${replicas} workers are connected.`;
  if (ready < replicas) return { type, status: 'True', reason: 'WorkersStarting', message };
  if (ready > replicas) return { type, status: 'True', reason: 'WorkersStopping', message };
  if (leaving.length === 0) return { type, status: 'False', reason: 'Complete', message };
  const runs = leaving.reduce((total, { activeExecutions }) => total + activeExecutions, 0);
  return { type, status: 'True', reason: 'WorkersDraining', message: `${message} ${leaving.length} more end when their ${runs} runs have ended.` };
};

/** Condition `WarmPool`, while more sandboxes are wanted ahead than a worker may have. */
const clamping = (pool: WorkerPool, agents: readonly TaskAgent[]): Finding | undefined => {
  const shares = [...warmShares(pool, agents).values()];
  const asked = shares.reduce((sum, share) => sum + share.asked, 0);
  const cap = warmCapOf(pool);
  if (asked <= cap) return undefined;
  const message = `${asked} warm sandboxes are wanted on each worker; ${cap} are kept, half of maxExecutionsPerWorker.`;
  return { type: 'WarmPool', status: 'False', reason: 'Clamped', message };
};

/** Status of a pool from the reports of its workers. */
export const poolStatus = (
  pool: WorkerPool,
  agents: readonly TaskAgent[],
  reports: readonly WorkerReport[],
  now: string,
): NonNullable<WorkerPool['status']> => {
  const ready = reports.filter(({ draining }) => !draining);
  const slots = ({ maxExecutions }: WorkerReport): number => Math.min(pool.spec.maxExecutionsPerWorker ?? DEFAULT_MAX_EXECUTIONS, maxExecutions || Infinity);
  const sum = (of: readonly WorkerReport[], value: (report: WorkerReport) => number): number => of.reduce((total, report) => total + value(report), 0);
  const { generation } = pool.metadata;
  const { replicas } = pool.spec;
  const clamped = clamping(pool, agents);
  return {
    ...(generation !== undefined && { observedGeneration: generation }),
    readyReplicas: ready.length,
    capacity: {
      maxExecutions: sum(ready, slots),
      availableExecutions: sum(ready, (report) => Math.max(0, slots(report) - report.activeExecutions)),
    },
    activeExecutions: sum(reports, ({ activeExecutions }) => activeExecutions),
    conditions: foldConditions(
      pool.status?.conditions?.filter(({ type }) => type !== 'WarmPool' || clamped),
      [
        ...(clamped ? [clamped] : []),
        availability(ready.length, replicas),
        progress(
          ready.length,
          replicas,
          reports.filter(({ draining }) => draining),
        ),
        enforced(workerPools, pool),
        placement(pool),
      ],
      now,
      generation,
    ),
  };
};
