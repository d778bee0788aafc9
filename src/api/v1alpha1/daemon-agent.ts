import { AGE, clrkKind, type Kind, type Resource } from '../kind.ts';
import { array, image, int32, int64, object, oneOf, string, time, unbuilt, type Infer } from '../schema.ts';
import { resourceErrors, resources } from '../resources.ts';
import { conditions, egressRef, revisionFields, revisionHistoryLimit, revisionName, templateMetadata } from '../shared.ts';

const spec = unbuilt(
  object(
    'What to keep running, and where.',
    {
      template: object(
        'What runs; any change of it makes a new AgentSandboxRevision.',
        { spec: object('The sandbox.', { image: image('OCI image.') }, revisionFields) },
        { metadata: templateMetadata },
      ),
      workerPoolRef: string('Name of a WorkerPool of this namespace.', { minLength: 1, maxLength: 253 }),
      restartPolicy: oneOf(
        'When the process is started again after it ended: OnFailure only after an exit code other than 0.',
        ['Always', 'OnFailure', 'Never'],
        {
          default: 'Always',
        },
      ),
    },
    {
      resources,
      revisionName,
      revisionHistoryLimit,
      maxRestarts: int32('Cap on restarts; 0 or absent = unlimited.', { minimum: 0 }),
      maxLifetimeSeconds: int32('Age at which the process is replaced; 0 or absent = never.', { minimum: 0 }),
      egressRefs: array('Gateways that carry outbound traffic, in order of preference; none = no outbound traffic.', egressRef, { maxItems: 16 }),
    },
  ),
);

const status = object(
  'What the controller observed.',
  {},
  {
    conditions,
    phase: oneOf('State of the process.', ['Running', 'Stopped', 'CrashLoopBackOff']),
    upSince: time('When the current process started.'),
    restartCount: int32('Restarts so far.'),
    latestCreatedRevisionName: string('Newest revision made.'),
    latestReadyRevisionName: string('Newest revision that became ready.'),
    observedGeneration: int64('Generation last reconciled.'),
  },
);

export type DaemonAgent = Resource<Infer<typeof spec>, Infer<typeof status>>;

export const daemonAgents: Kind<DaemonAgent> = clrkKind({
  kind: 'DaemonAgent',
  plural: 'daemonagents',
  short: 'da',
  description: 'An agent that is one supervised, long-lived process without ingress.',
  spec,
  status,
  columns: [
    { name: 'Pool', type: 'string', path: '.spec.workerPoolRef' },
    { name: 'Latest Ready', type: 'string', path: '.status.latestReadyRevisionName' },
    { name: 'Phase', type: 'string', path: '.status.phase' },
    { name: 'Restarts', type: 'integer', path: '.status.restartCount' },
    { name: 'Image', type: 'string', path: '.spec.template.spec.image', priority: 1 },
    { name: 'Ready', type: 'string', path: '.status.conditions[?(@.type=="Ready")].status', priority: 1 },
    { name: 'Pinned', type: 'string', path: '.spec.revisionName', priority: 1 },
    AGE,
  ],
  admission: ({ spec: { resources: asked } }) => resourceErrors(asked, 'spec.resources'),
});
