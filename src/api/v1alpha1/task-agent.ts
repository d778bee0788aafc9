import { AGE, clrkKind, type Kind, type Resource } from '../kind.ts';
import { array, builtWhen, duration, image, int32, int64, notBuilt, object, oneOf, string, time, type Infer } from '../schema.ts';
import { conditions, egressRef, revisionFields, templateMetadata } from '../shared.ts';

const spec = object(
  'What to run, where, and how it is triggered.',
  {
    template: object(
      'What runs; a change of its spec makes a new AgentSandboxRevision.',
      { spec: object('The sandbox.', { image: image('OCI image.') }, revisionFields) },
      { metadata: templateMetadata },
    ),
    workerPoolRef: string('Name of a WorkerPool of this namespace.', { minLength: 1, maxLength: 253 }),
    timeout: duration('Wall-clock cap for one run.', { default: '100s' }),
  },
  {
    maxConcurrent: int32('Cap on simultaneous runs over all workers and triggers; 0 or absent = unlimited.', { minimum: 0 }),
    egressRefs: array(
      'Gateways that carry outbound traffic, in order of preference; none = no outbound traffic.',
      builtWhen(egressRef, (_, index) => index === 0),
      { maxItems: 16 },
    ),
    delivery: object(
      'How the request reaches the process.',
      {},
      { mode: builtWhen(oneOf('Stdin: a CloudEvents JSON envelope on standard input.', ['Stdin', 'Metadata']), (mode) => mode === 'Stdin') },
    ),
    resources: notBuilt('Limits of one run; not built yet.'),
    warmPoolSize: notBuilt('Ready sandboxes to keep per worker; not built yet.'),
    warmPoolIdleTTL: notBuilt('Age at which an idle warm sandbox is replaced; not built yet.'),
    schedule: notBuilt('Cron expression; not built yet.'),
    scheduleInput: notBuilt('Request body of scheduled runs; not built yet.'),
    identity: notBuilt('Where the identity of the caller is taken from; not built yet.'),
    streaming: notBuilt('Streaming of output; not built yet.'),
    state: notBuilt('A volume kept between runs; not built yet.'),
  },
);

const status = object(
  'What the controller observed.',
  {},
  {
    conditions,
    activeExecutions: int32('Invocations that are Pending, Dispatched or Running.'),
    warmSandboxes: int32('Warm sandboxes over all workers.'),
    latestCreatedRevisionName: string('Newest revision made.'),
    latestReadyRevisionName: string('Newest revision that became ready.'),
    lastScheduleTime: time('Last scheduled run.'),
    nextScheduleTime: time('Next scheduled run.'),
    observedGeneration: int64('Generation last reconciled.'),
  },
);

export type TaskAgent = Resource<Infer<typeof spec>, Infer<typeof status>>;

export const taskAgents: Kind<TaskAgent> = clrkKind({
  kind: 'TaskAgent',
  plural: 'taskagents',
  short: 'ta',
  description: 'An agent that runs to completion, once for each request, each time in a sandbox of its own.',
  spec,
  status,
  columns: [
    { name: 'Pool', type: 'string', path: '.spec.workerPoolRef' },
    { name: 'Latest Ready', type: 'string', path: '.status.latestReadyRevisionName' },
    { name: 'Active', type: 'integer', path: '.status.activeExecutions' },
    { name: 'Warm', type: 'integer', path: '.status.warmSandboxes' },
    { name: 'Image', type: 'string', path: '.spec.template.spec.image', priority: 1 },
    AGE,
  ],
});

/**
 * Whether a run without this unbuilt field would not be what its author asked for, so that it must not start. The other unbuilt
 * fields only leave something out.
 */
export const stopsRun = (field: string): boolean => /^spec\.(delivery|state)\b|\.valueFrom$/.test(field);
