import { AGE, clrkKind, type FieldError, type Kind, type Resource } from '../kind.ts';
import { parseSchedule } from '#lib';
import { array, bool, builtWhen, duration, image, int32, int64, json, object, oneOf, string, time, unbuilt, type Infer, type Rule } from '../schema.ts';
import { checkMountPath } from '../mounts.ts';
import { resourceErrors, resources } from '../resources.ts';
import { conditions, egressRef, revisionFields, revisionHistoryLimit, revisionName, secretRef, templateMetadata } from '../shared.ts';

/** Exactly the block that `type` names is there. */
const extractorRules: readonly Rule[] = [
  ['Header', 'header'],
  ['Body', 'body'],
  ['JWT', 'jwt'],
].map(([type, field]) => ({
  rule: `self.type != '${type}' || has(self.${field})`,
  message: `must be set when type is ${type}`,
  fieldPath: `.${field}`,
  reason: 'FieldValueRequired',
}));

const word = (description: string) => string(description, { minLength: 1, maxLength: 253 });
const field = word('Attribute of the identity it fills.');

const identity = object('Who the caller is.', {
  extractors: array(
    'Where it is read.',
    object(
      'One place.',
      { type: oneOf('Which of the blocks below applies.', ['Header', 'Body', 'JWT']) },
      {
        header: object('A header of the request.', { name: word('The header.'), field }),
        body: object('A value of a JSON body.', { jsonPath: word('Where it is.'), field }),
        jwt: object('A claim of a bearer token.', { claim: word('The claim.'), field }),
      },
      { rules: extractorRules },
    ),
    { minItems: 1, maxItems: 16 },
  ),
});

const ingress = object(
  'Who may trigger it over HTTP.',
  {},
  {
    auth: object('What a caller must show.', {
      bearer: object(
        'A token in `Authorization: Bearer`.',
        { secretRef },
        { secretKey: string('Key in the Secret; token when absent.', { minLength: 1, maxLength: 253 }) },
      ),
    }),
  },
);

const state = object(
  'A directory kept between runs.',
  {},
  {
    backend: oneOf('How it is kept; sqlite when absent.', ['sqlite']),
    sizeLimitMB: int32('Its size in MB; 100 when absent.', { minimum: 1, maximum: 1_048_576 }),
    mountPath: string('Where the process finds it; /var/clrk/state when absent.', { minLength: 1, maxLength: 1024 }),
  },
);

const spec = object(
  'What to run, where, and how it is triggered.',
  {
    template: object(
      'What runs; any change of it makes a new AgentSandboxRevision.',
      { spec: object('The sandbox.', { image: image('OCI image.') }, revisionFields) },
      { metadata: templateMetadata },
    ),
    workerPoolRef: string('Name of a WorkerPool of this namespace.', { minLength: 1, maxLength: 253 }),
    timeout: duration('Wall-clock cap for one run.', { default: '100s' }),
  },
  {
    maxConcurrent: int32('Cap on simultaneous runs over all workers and triggers; 0 or absent = unlimited.', { minimum: 0 }),
    egressRefs: array('Gateways that carry outbound traffic, in order of preference; none = no outbound traffic.', egressRef, { maxItems: 16 }),
    delivery: object(
      'How the request reaches the process.',
      {},
      { mode: builtWhen(oneOf('Stdin: a CloudEvents JSON envelope on standard input.', ['Stdin', 'Metadata']), (mode) => mode === 'Stdin', 'Stdin only') },
    ),
    resources,
    warmPoolSize: int32(
      'Sandboxes to keep started ahead on each worker; absent = a share of the warmPool of the WorkerPool. All together stay within half of its maxExecutionsPerWorker.',
      { minimum: 0 },
    ),
    warmPoolIdleTTL: duration('Age at which a warm sandbox that no run has taken is replaced; 10m when absent.'),
    schedule: unbuilt(string('Cron expression of five fields, @hourly and the like, or @every 5m; HTTP triggers stay on.', { minLength: 1, maxLength: 256 })),
    scheduleInput: unbuilt(json('Data of the event of scheduled runs.')),
    timeZone: unbuilt(string('IANA time zone the schedule is read in; UTC when absent.', { minLength: 1, maxLength: 64 })),
    concurrencyPolicy: unbuilt(
      oneOf(
        'What happens when a scheduled run is due while one of before is not over: Allow (when absent) starts it, Forbid leaves it out, Replace ends the old one.',
        ['Allow', 'Forbid', 'Replace'],
      ),
    ),
    revisionName,
    revisionHistoryLimit,
    ingress: unbuilt(ingress),
    identity: unbuilt(identity),
    streaming: unbuilt(object('Streaming of output.', {}, { enabled: bool('Whether output is sent on as it comes.') })),
    state: unbuilt(state),
  },
);

const status = object(
  'What the controller observed.',
  {},
  {
    conditions,
    activeExecutions: int32('Invocations that are Pending, Dispatched or Running.'),
    warmSandboxes: int32('Warm sandboxes over all workers, of the latest ready revision.'),
    latestCreatedRevisionName: string('Newest revision made.'),
    latestReadyRevisionName: string('Newest revision that became ready.'),
    lastScheduleTime: time('Last scheduled run.'),
    nextScheduleTime: time('Next scheduled run.'),
    observedGeneration: int64('Generation last reconciled.'),
  },
);

export type TaskAgent = Resource<Infer<typeof spec>, Infer<typeof status>>;

const checkAgent = ({ spec: { resources: asked, schedule, timeZone, state: kept } }: TaskAgent): FieldError[] => {
  const errors = resourceErrors(asked, 'spec.resources');
  const invalid = (path: string, value: string, why: string): void =>
    void errors.push({ field: path, reason: 'FieldValueInvalid', message: `Invalid value: ${JSON.stringify(value)}: ${why}` });
  const zone = timeZone === undefined ? undefined : parseSchedule('@daily', timeZone);
  if (zone && 'invalid' in zone) invalid('spec.timeZone', timeZone!, 'must be an IANA time zone');
  const parsed = schedule === undefined ? undefined : parseSchedule(schedule);
  if (parsed && 'invalid' in parsed) invalid('spec.schedule', schedule!, `must be a schedule: ${parsed.invalid}`);
  if (kept?.mountPath !== undefined) errors.push(...checkMountPath('spec.state.mountPath', kept.mountPath));
  return errors;
};

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
    { name: 'Ready', type: 'string', path: '.status.conditions[?(@.type=="Ready")].status', priority: 1 },
    { name: 'Pinned', type: 'string', path: '.spec.revisionName', priority: 1 },
    AGE,
  ],
  admission: checkAgent,
});

/**
 * Whether a run without this unbuilt field would not be what its author asked for, so that it must not start. The other unbuilt
 * fields only leave something out.
 */
export const stopsRun = (field: string): boolean => /^spec\.(delivery|state|ingress)\b|\.valueFrom$/.test(field);
