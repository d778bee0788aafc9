import { AGE, clrkKind, type FieldError, type Kind, type Resource } from '../kind.ts';
import { checkMountPath } from '../mounts.ts';
import { array, bool, builtWhen, image, int32, int64, json, listMap, map, object, oneOf, string, unbuilt, type Infer, type Schema } from '../schema.ts';
import { conditions } from '../shared.ts';

/** Things of the pod API: their insides are kept as they are. */
const podObject = (description: string): Schema<unknown> => ({ ...json(description), type: 'object' });
const podList = (description: string) => array(description, podObject(''), { maxItems: 64 });

/** Has its own name; the rest is the pod API's. */
const named = <K extends string>(description: string, ...fields: readonly K[]) => ({
  ...object(
    description,
    Object.fromEntries(fields.map((name) => [name, string('', { minLength: 1, maxLength: 1024 })])) as Readonly<Record<K, Schema<string>>>,
  ),
  'x-kubernetes-preserve-unknown-fields': true as const,
});

const extraVolumes = listMap('More volumes of the pod.', ['name'], named('A volume.', 'name'), { maxItems: 64 });
const extraVolumeMounts = array('Where they appear in the worker.', named('A mount.', 'name', 'mountPath'), { maxItems: 64 });

/** Fields that place a worker in a cluster; their shapes are those of a pod, and on one machine they have no effect. */
const placement = {
  imagePullSecrets: unbuilt(
    array('Secrets for pulling the worker image.', object('', { name: string('', { minLength: 1, maxLength: 253 }) }), { maxItems: 16 }),
  ),
  resources: unbuilt(podObject('Requests and limits of the worker container.')),
  env: unbuilt(listMap('More variables of the worker container.', ['name'], named('One variable.', 'name'), { maxItems: 256 })),
  nodeSelector: unbuilt(map('Labels a node must have.', string('', { maxLength: 63 }))),
  tolerations: unbuilt(podList('Taints that are tolerated.')),
  affinity: unbuilt(podObject('Affinity of the pod.')),
  priorityClassName: unbuilt(string('Priority class of the pod.', { maxLength: 253 })),
  topologySpreadConstraints: unbuilt(podList('How pods are spread.')),
  extraVolumes: unbuilt(extraVolumes),
  extraVolumeMounts: unbuilt(extraVolumeMounts),
  metadata: unbuilt(object('Labels and annotations of the pod.', {}, { labels: map('Labels.', string('')), annotations: map('Annotations.', string('')) })),
};

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
          'IfNotPresent only',
        ),
        serviceAccountName: builtWhen(
          string('Service account of the worker.', { default: 'clrk-worker' }),
          (value) => value === 'clrk-worker',
          'clrk-worker only',
        ),
      },
      placement,
    ),
    replicas: int32('Number of workers.', { minimum: 0, default: 1 }),
  },
  {
    maxExecutionsPerWorker: int32('Simultaneous sandboxes per worker.', { minimum: 0 }),
    warmPool: int32('Sandboxes each worker keeps started ahead, shared evenly among the TaskAgents of the pool that set no warmPoolSize.', { minimum: 0 }),
    imageCache: unbuilt(object('Caching of images on nodes.', {}, { enabled: bool('Whether images are cached.') })),
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

const RESERVED_VOLUMES = ['state', 'run', 'varlog'];
const RESERVED_PATHS = ['/var/lib/clrk/state', '/run/clrk', '/var/log/clrk'];

const checkVolumes = ({ spec: { template } }: WorkerPool): FieldError[] => {
  const { extraVolumes: volumes = [], extraVolumeMounts: mounts = [] } = template;
  const names = new Set(volumes.map(({ name }) => name));
  const reserved = (field: string, name: string): FieldError[] =>
    RESERVED_VOLUMES.includes(name) ? [{ field, reason: 'FieldValueInvalid', message: `Invalid value: ${JSON.stringify(name)}: this name is reserved` }] : [];
  return [
    ...volumes.flatMap(({ name }, index) => reserved(`spec.template.extraVolumes[${index}].name`, name)),
    ...mounts.flatMap(({ name, mountPath }, index): FieldError[] => {
      const field = `spec.template.extraVolumeMounts[${index}]`;
      return [
        ...reserved(`${field}.name`, name),
        ...(names.has(name)
          ? []
          : [{ field: `${field}.name`, reason: 'FieldValueInvalid' as const, message: `Invalid value: ${JSON.stringify(name)}: must be one of extraVolumes` }]),
        ...checkMountPath(`${field}.mountPath`, mountPath, RESERVED_PATHS),
      ];
    }),
  ];
};

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
    { name: 'Available', type: 'string', path: '.status.conditions[?(@.type=="Available")].status', priority: 1 },
    AGE,
  ],
  scale: { specReplicasPath: '.spec.replicas', statusReplicasPath: '.status.readyReplicas' },
  admission: checkVolumes,
});
