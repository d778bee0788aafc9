import { array, int32, int64, listMap, map, notBuilt, object, oneOf, string, time, type Infer } from './schema.ts';

/** Types that several kinds share (api.md section 6). */

export const condition = object(
  'One aspect of the state of the object.',
  {
    type: string('What it is about, in CamelCase.', { maxLength: 316 }),
    status: oneOf('Whether it holds.', ['True', 'False', 'Unknown']),
    lastTransitionTime: time('When status last changed.'),
    reason: string('A stable word for why.', { maxLength: 1024 }),
    message: string('One sentence for a person.', { maxLength: 32_768 }),
  },
  { observedGeneration: int64('Generation of the object this was derived from.') },
);
export type Condition = Infer<typeof condition>;

export const conditions = listMap('Conditions by type.', ['type'], condition);

export const envVar = object(
  'One environment variable.',
  { name: string('Name of the variable.', { minLength: 1, maxLength: 1024 }) },
  { value: string('Literal value.'), valueFrom: notBuilt('Where the value comes from; not built yet.') },
);

/** A snapshot of what runs: image, command, arguments and environment. */
export const revisionFields = {
  command: array('Replaces the entrypoint of the image.', string('')),
  args: array('Arguments of the entrypoint.', string('')),
  env: listMap('Environment of the process.', ['name'], envVar, { maxItems: 512 }),
};

/** Labels and annotations alone; the rest of ObjectMeta has no effect in a template. */
export const templateMetadata = object(
  'Labels and annotations for what is made from the template.',
  {},
  { labels: map('Labels.', string('')), annotations: map('Annotations.', string('')), name: string('No effect.'), generateName: string('No effect.') },
);

export const egressRef = object('A gateway for outbound traffic.', { gatewayRef: string('Name of an EgressGateway of this namespace.', { minLength: 1 }) });

export const parentRef = object(
  'The object this one attaches to.',
  { name: string('Name of the object.', { minLength: 1, maxLength: 253 }) },
  {
    group: string('Group of the object; absent or empty means clrk.apoxy.dev.', { maxLength: 253 }),
    kind: string('Kind of the object.', { minLength: 1, maxLength: 63 }),
    namespace: string('Namespace of the object; only the own namespace is allowed.', { maxLength: 63 }),
    sectionName: string('Listener of the object; absent means all.', { maxLength: 253 }),
    port: int32('Not used.', { built: () => false }),
  },
);
export type ParentRef = Infer<typeof parentRef>;

export const secretRef = object(
  'A Secret of this namespace.',
  { name: string('Name of the Secret.', { minLength: 1, maxLength: 253 }) },
  { group: string('Empty: the core group.'), kind: string('Secret.'), namespace: string('Ignored: always the own namespace.') },
);

export const routeParents = array(
  'State of the route at each parent.',
  object('State at one parent.', {
    parentRef,
    controllerName: string('Controller that wrote this entry.'),
    conditions,
  }),
  { maxItems: 32 },
);

export const policyAncestors = array(
  'State of the policy at each object it attaches to.',
  object('State at one object.', {
    ancestorRef: parentRef,
    controllerName: string('Controller that wrote this entry.'),
    conditions,
  }),
  { maxItems: 16 },
);
