import { workerPools, type WorkerPool } from '#api';
import type { WorkerReport } from '#model';
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

const availability = (ready: number, replicas: number): Finding[] => [
  ready > 0 || replicas === 0
    ? { type: 'Available', status: 'True', reason: 'WorkersReady', message: `${ready} of ${replicas} workers are connected.` }
    : { type: 'Available', status: 'False', reason: 'NoWorker', message: `0 of ${replicas} workers are connected.` },
  ready === replicas
    ? { type: 'Progressing', status: 'False', reason: 'Complete', message: `${ready} of ${replicas} workers are connected.` }
    : {
        type: 'Progressing',
        status: 'True',
        reason: ready < replicas ? 'WorkersStarting' : 'WorkersStopping',
        message: `${ready} of ${replicas} workers are connected.`,
      },
];

/** Status of a pool from the reports of its workers. */
export const poolStatus = (pool: WorkerPool, reports: readonly WorkerReport[], now: string): NonNullable<WorkerPool['status']> => {
  const sum = (of: (report: WorkerReport) => number): number => reports.reduce((total, report) => total + of(report), 0);
  const { generation } = pool.metadata;
  return {
    ...(generation !== undefined && { observedGeneration: generation }),
    readyReplicas: reports.length,
    capacity: {
      maxExecutions: sum((report) => report.maxExecutions),
      availableExecutions: sum((report) => Math.max(0, report.maxExecutions - report.activeExecutions)),
    },
    activeExecutions: sum((report) => report.activeExecutions),
    conditions: foldConditions(
      pool.status?.conditions,
      [...availability(reports.length, pool.spec.replicas), enforced(workerPools, pool), placement(pool)],
      now,
      generation,
    ),
  };
};
