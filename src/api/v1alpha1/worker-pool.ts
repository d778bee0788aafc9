import { AGE, clrkKind, type Kind, type Resource } from '../kind.ts';
import { builtWhen, image, int32, int64, notBuilt, object, oneOf, string, type Infer } from '../schema.ts';
import { conditions } from '../shared.ts';

/** Fields that place a worker in a cluster; their shapes are those of a pod. */
const placement = Object.fromEntries(
  [
    'imagePullSecrets',
    'resources',
    'env',
    'nodeSelector',
    'tolerations',
    'affinity',
    'priorityClassName',
    'topologySpreadConstraints',
    'extraVolumes',
    'extraVolumeMounts',
    'metadata',
  ].map((name) => [name, notBuilt('As in a pod; no effect on one machine.')]),
);

const spec = object(
  'How many workers, and how much each may run.',
  {
    template: object(
      'The worker itself.',
      {
        image: image('Worker image; no effect on one machine.'),
        imagePullPolicy: builtWhen(
          oneOf('When to pull the worker image.', ['Always', 'IfNotPresent', 'Never'], { default: 'IfNotPresent' }),
          (value) => value === 'IfNotPresent',
        ),
        serviceAccountName: builtWhen(string('Service account of the worker.', { default: 'clrk-worker' }), (value) => value === 'clrk-worker'),
      },
      placement,
    ),
    replicas: int32('Number of workers.', { minimum: 0, default: 1 }),
  },
  {
    maxExecutionsPerWorker: int32('Simultaneous sandboxes per worker.', { minimum: 0 }),
    warmPool: notBuilt('Sandboxes started ahead; not built yet.'),
    imageCache: notBuilt('Caching of images; not built yet.'),
  },
);

const status = object(
  'What workers reported.',
  {},
  {
    observedGeneration: int64('Generation last reconciled.'),
    readyReplicas: int32('Ready workers.'),
    capacity: object('Slots over ready workers.', {}, { maxExecutions: int32('All slots.'), availableExecutions: int32('Free slots.') }),
    activeExecutions: int32('Runs in this pool.'),
    conditions,
  },
);

/** Runs on one worker at the same time when its pool sets no `maxExecutionsPerWorker`. */
export const DEFAULT_MAX_EXECUTIONS = 16;

export type WorkerPool = Resource<Infer<typeof spec>, Infer<typeof status>>;

export const workerPools: Kind<WorkerPool> = clrkKind({
  kind: 'WorkerPool',
  plural: 'workerpools',
  short: 'wp',
  description: 'A set of workers that host sandboxes.',
  spec,
  status,
  columns: [
    { name: 'Replicas', type: 'integer', path: '.spec.replicas' },
    { name: 'Ready', type: 'integer', path: '.status.readyReplicas' },
    { name: 'Active', type: 'integer', path: '.status.activeExecutions' },
    AGE,
  ],
});
