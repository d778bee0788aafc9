import { AGE, RUNTIME_GROUP, VERSION, type Kind, type Resource } from '../kind.ts';
import { int32, int64, object, oneOf, string, time, type Infer } from '../schema.ts';
import { conditions } from '../shared.ts';

const spec = object('The request.', {
  parentRef: object('The agent.', { kind: oneOf('Its kind.', ['TaskAgent', 'DaemonAgent']), name: string('Its name.') }),
  trigger: object('What started it.', { type: oneOf('How.', ['HTTP', 'Cron', 'CLI']) }, { source: string('Route, cron expression or operator.') }),
});

const status = object(
  'How it went.',
  {},
  {
    phase: oneOf('Where it is.', ['Pending', 'Dispatched', 'Running', 'Succeeded', 'Failed', 'Timeout', 'Rejected']),
    reason: string('A stable word for why; absent while all is well.'),
    message: string('One sentence for a person.'),
    revision: string('AgentSandboxRevision that ran.'),
    worker: string('Worker it ran on.'),
    traceId: string('Trace of the run.'),
    exitCode: int32('Exit status of the process.'),
    dispatchedAt: time('When a worker got it.'),
    startedAt: time('When the process started.'),
    finishedAt: time('When it ended.'),
    firstByteMs: int64('Trigger accepted to first byte of output, in milliseconds.'),
    outputBytes: int64('Bytes of output.'),
    queuedMs: int64('How long it waited for a slot, in milliseconds; absent when it did not have to.'),
    conditions,
  },
);

/** Record of one request to an agent. Read-only: served by the runtime API from the journal of the dispatcher. */
export type Invocation = Resource<Infer<typeof spec>, Infer<typeof status>>;

export const invocations: Kind<Invocation> = {
  group: RUNTIME_GROUP,
  version: VERSION,
  kind: 'Invocation',
  plural: 'invocations',
  singular: 'invocation',
  shortNames: ['inv'],
  namespaced: true,
  description: 'Record of one request to an agent.',
  schema: { type: 'object', description: 'Record of one request to an agent.', properties: { spec, status } },
  columns: [
    { name: 'Agent', type: 'string', path: '.spec.parentRef.name' },
    { name: 'Phase', type: 'string', path: '.status.phase' },
    { name: 'Trigger', type: 'string', path: '.spec.trigger.type' },
    { name: 'Reason', type: 'string', path: '.status.reason', priority: 1 },
    { name: 'Worker', type: 'string', path: '.status.worker', priority: 1 },
    AGE,
  ],
  subresources: {},
};
