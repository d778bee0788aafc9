import type { FieldError, Kind, KubeObject } from '../kind.ts';
import { int32, json, object, string, type Infer, type JsonSchema } from '../schema.ts';

/**
 * Events: what happened to an object, for people. One stored form (core/v1), also served as `events.k8s.io/v1`.
 * Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
 */

const reference = object(
  'An object.',
  {},
  {
    apiVersion: string('Its API version.'),
    kind: string('Its kind.'),
    namespace: string('Its namespace.'),
    name: string('Its name.'),
    uid: string('Its uid.'),
    resourceVersion: string('Its version then.'),
    fieldPath: string('The part of it that is meant.'),
  },
);

/** May be null, as Go writes a time that is not set. */
const optionalTime = (description: string): JsonSchema => json(description);

const properties = {
  involvedObject: reference,
  reason: string('A word for why, in CamelCase.', { maxLength: 128 }),
  message: string('What happened, for a person.'),
  type: string('Normal or Warning.'),
  source: object('Who tells it.', {}, { component: string('The program.'), host: string('Its machine.') }),
  firstTimestamp: optionalTime('When it happened first.'),
  lastTimestamp: optionalTime('When it happened last.'),
  count: int32('How often it happened.'),
  eventTime: optionalTime('When it was noticed first, in microseconds.'),
  series: json('Repetitions: count and lastObservedTime.'),
  action: string('What was done or failed.', { maxLength: 128 }),
  related: reference,
  reportingComponent: string('Who tells it.'),
  reportingInstance: string('Which one of them.', { maxLength: 128 }),
};

export interface Event extends KubeObject {
  readonly involvedObject: Infer<typeof reference>;
  readonly reason?: string;
  readonly message?: string;
  readonly type?: string;
  readonly source?: { readonly component?: string; readonly host?: string };
  readonly firstTimestamp?: string | null;
  readonly lastTimestamp?: string | null;
  readonly count?: number;
  readonly eventTime?: string | null;
  readonly series?: { readonly count?: number; readonly lastObservedTime?: string } | null;
  readonly reportingComponent?: string;
  readonly reportingInstance?: string;
}

const kind = { kind: 'Event', plural: 'events', singular: 'event', shortNames: ['ev'], namespaced: true, native: true, subresources: {} } as const;

/** An object that no longer changes is described for this long. */
const TTL_SECONDS = 3600;

const invalid = (field: string, value: unknown, why: string): FieldError => ({
  field,
  reason: 'FieldValueInvalid',
  message: `Invalid value: ${JSON.stringify(value)}: ${why}`,
});

const lastSeen = ({ series, lastTimestamp, eventTime, firstTimestamp, metadata }: Event): string =>
  series?.lastObservedTime ?? lastTimestamp ?? eventTime ?? firstTimestamp ?? metadata.creationTimestamp ?? '';
const sourceOf = ({ source, reportingComponent }: Event): string => [source?.component ?? reportingComponent, source?.host].filter(Boolean).join(', ');
const objectOf = ({ involvedObject: { kind: involved, name } }: Event): string => `${(involved ?? '').toLowerCase()}/${name ?? ''}`;

const column = <T extends string | number>(name: string, type: 'string' | 'integer' | 'date', path: string, value: (event: Event) => T, priority = 0) => ({
  name,
  type,
  path,
  priority,
  value: (object: KubeObject) => value(object as Event),
});

/** Those of kubectl, which are computed from the core form. */
const columns = [
  column('Last Seen', 'date', '.lastTimestamp', lastSeen),
  column('Type', 'string', '.type', ({ type }) => type ?? ''),
  column('Reason', 'string', '.reason', ({ reason }) => reason ?? ''),
  column('Object', 'string', '.involvedObject.name', objectOf),
  column('Subobject', 'string', '.involvedObject.fieldPath', ({ involvedObject }) => involvedObject.fieldPath ?? '', 1),
  column('Source', 'string', '.source.component', sourceOf, 1),
  column('Message', 'string', '.message', ({ message }) => (message ?? '').trim()),
  column('First Seen', 'date', '.firstTimestamp', (event) => event.firstTimestamp ?? event.eventTime ?? lastSeen(event), 1),
  column('Count', 'integer', '.count', ({ series, count }) => series?.count ?? count ?? 1, 1),
  column('Name', 'string', '.metadata.name', ({ metadata }) => metadata.name, 1),
];

export const events: Kind<Event> = {
  ...kind,
  group: '',
  version: 'v1',
  description: 'What happened to an object.',
  schema: { type: 'object', description: 'What happened to an object.', properties, required: ['involvedObject'] },
  columns,
  selectable: [
    ...['kind', 'namespace', 'name', 'uid', 'apiVersion', 'resourceVersion', 'fieldPath'].map((field) => `involvedObject.${field}`),
    'reason',
    'reportingComponent',
    'type',
  ],
  ttlSeconds: TTL_SECONDS,
  admission: ({ metadata, involvedObject, type }) => [
    ...((involvedObject.namespace || 'default') === metadata.namespace
      ? []
      : [invalid('involvedObject.namespace', involvedObject.namespace ?? '', 'does not match event.namespace')]),
    ...(type === undefined || type === '' || type === 'Normal' || type === 'Warning' ? [] : [invalid('type', type, 'has invalid value')]),
  ],
};

/** The name a field has in `events.k8s.io/v1` -> the name it is stored under. */
const NEW_NAMES = {
  regarding: 'involvedObject',
  note: 'message',
  deprecatedSource: 'source',
  deprecatedFirstTimestamp: 'firstTimestamp',
  deprecatedLastTimestamp: 'lastTimestamp',
  deprecatedCount: 'count',
  reportingController: 'reportingComponent',
} as const;
const oldNames = new Map<string, string>(Object.entries(NEW_NAMES).map(([now, old]) => [old, now]));

/** The newer form of the same objects. */
export const eventsV1: Kind = {
  ...kind,
  group: 'events.k8s.io',
  version: 'v1',
  description: 'What happened to an object.',
  schema: {
    type: 'object',
    description: 'What happened to an object.',
    properties: Object.fromEntries(Object.entries(properties).map(([name, schema]) => [oldNames.get(name) ?? name, schema])),
  },
  columns,
  view: { of: events as unknown as Kind, fields: NEW_NAMES },
};
