import { GROUP, type Column } from './kind.ts';
import { array, bool, duration, int32, int64, listMap, map, object, oneOf, string, time, unbuilt, type Infer, type Rule, type Schema } from './schema.ts';

/** Types that several kinds share. */

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

const keyRef = (of: string) =>
  object(
    `A key of a ${of} of this namespace.`,
    { name: string(`Name of the ${of}.`, { minLength: 1, maxLength: 253 }), key: string('The key.', { minLength: 1, maxLength: 253 }) },
    { optional: bool('Whether the variable is left out when there is no such key.') },
  );

const envVarSource = object(
  'Where the value comes from.',
  {},
  { secretKeyRef: keyRef('Secret'), configMapKeyRef: keyRef('ConfigMap') },
  {
    rules: [{ rule: 'has(self.secretKeyRef) != has(self.configMapKeyRef)', message: 'exactly one of secretKeyRef and configMapKeyRef must be set' }],
  },
);

export const envVar = object(
  'One environment variable.',
  { name: string('Name of the variable.', { minLength: 1, maxLength: 1024 }) },
  { value: string('Literal value.'), valueFrom: unbuilt(envVarSource) },
);

/** A snapshot of what runs: image, command, arguments and environment. */
export const revisionFields = {
  command: array('Replaces the entrypoint of the image.', string('')),
  args: array('Arguments of the entrypoint.', string('')),
  env: listMap('Environment of the process.', ['name'], envVar, { maxItems: 512 }),
};

/** Which revision of an agent runs. */
export const revisionName = string('AgentSandboxRevision of this agent that runs, and no other (a pin); absent = the latest ready one.', {
  minLength: 1,
  maxLength: 253,
});
export const revisionHistoryLimit = int32(
  'How many of the newest revisions are kept; 10 when absent. Those that serve, are pinned, newest or still run are kept besides.',
  { minimum: 0 },
);

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
    namespace: string('Namespace of the object; absent means the own. Another one takes only what its listeners allow (allowedRoutes).', { maxLength: 63 }),
    sectionName: string('Listener of the object; absent means all that fit.', { maxLength: 253 }),
    port: int32('Only listeners with exactly this port; absent means all that fit.', { minimum: 1, maximum: 65_535 }),
  },
);
export type ParentRef = Infer<typeof parentRef>;

export const secretRef = object(
  'A Secret of this namespace.',
  { name: string('Name of the Secret.', { minLength: 1, maxLength: 253 }) },
  { group: string('Empty: the core group.'), kind: string('Secret.'), namespace: string('The own namespace, also when absent; no other one is ever read.') },
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

/** For `-o wide`: what a route is at its first parent, a policy at its first target. */
export const attachmentColumns = (list: 'parents' | 'ancestors'): readonly Column[] => [
  { name: 'Accepted', type: 'string', path: `.status.${list}[0].conditions[?(@.type=="Accepted")].status`, priority: 1 },
  { name: 'Reason', type: 'string', path: `.status.${list}[0].conditions[?(@.type=="Accepted")].reason`, priority: 1 },
];

export const policyAncestors = array(
  'State of the policy at each object it attaches to.',
  object('State at one object.', {
    ancestorRef: parentRef,
    controllerName: string('Controller that wrote this entry.'),
    conditions,
  }),
  { maxItems: 16 },
);

/** `field` goes with the value `value` of `of`, and only with it: elsewhere it would be without effect. */
export const only = (of: string, value: string, field: string): readonly Rule[] => [
  {
    rule: `self.${of} != '${value}' || has(self.${field})`,
    message: `must be set when ${of} is ${value}`,
    fieldPath: `.${field}`,
    reason: 'FieldValueRequired',
  },
  {
    rule: `self.${of} == '${value}' || !has(self.${field})`,
    message: `must not be set unless ${of} is ${value}`,
    fieldPath: `.${field}`,
    reason: 'FieldValueForbidden',
  },
];

/** Filter `type` goes with the field that holds its settings. */
export const filterRules = (fields: Readonly<Record<string, string>>): readonly Rule[] => {
  const rules = Object.entries(fields).map(([type, field]) => only('type', type, field));
  // Of a single type there is no other that its field could stand beside.
  return rules.length > 1 ? rules.flat() : rules.flatMap(([required]) => required!);
};

/** The policy an `ExtensionRef` filter applies. Without `kinds` any kind may be named, and one nobody implements stays unresolved. */
export const extensionRef = (kinds?: readonly string[]) =>
  object(
    'A policy of this namespace that applies.',
    {
      group: string(`Always ${GROUP}.`, { maxLength: 253 }),
      kind: kinds ? oneOf('Kind of the policy.', kinds) : string('Kind of the policy.', { minLength: 1, maxLength: 63 }),
      name: string('Name of the policy.', { minLength: 1, maxLength: 253 }),
    },
    {},
    { rules: [{ rule: `self.group == '${GROUP}'`, message: `group must be ${GROUP}`, fieldPath: '.group' }] },
  );

export const backendRef = object(
  'Another upstream.',
  { name: string('Name of the object.', { minLength: 1, maxLength: 253 }) },
  {
    group: string('Group of the object; absent means core.', { maxLength: 253 }),
    kind: string('Kind of the object; absent means Service.', { minLength: 1, maxLength: 63 }),
    namespace: string('Namespace of the object.', { maxLength: 63 }),
    port: int32('Port of the object.', { minimum: 1, maximum: 65_535 }),
    weight: int32('Share among several.', { minimum: 0, maximum: 1_000_000 }),
  },
);

/** Upstreams in place of the one that was dialled. */
export const backendRefs = unbuilt(array('Other upstreams; a rule with them lets nothing through.', backendRef, { maxItems: 16 }));

/** EgressGateways, or listeners of them, that a route is for. */
export const routeParentRefs = array('EgressGateways (or listeners of them) this route is for.', parentRef, { minItems: 1, maxItems: 32 });

export const labelSelector = object(
  'Labels something must have; an empty one selects everything.',
  {},
  {
    matchLabels: map('Labels with exactly these values.', string('', { maxLength: 63 })),
    matchExpressions: array(
      'Further conditions; all must hold.',
      object(
        'One condition.',
        {
          key: string('The label.', { minLength: 1, maxLength: 317 }),
          operator: oneOf('How its value is compared.', ['In', 'NotIn', 'Exists', 'DoesNotExist']),
        },
        { values: array('Values of In and NotIn.', string('', { maxLength: 63 }), { maxItems: 64 }) },
        {
          rules: [
            {
              rule: "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0",
              message: 'must be given with In and NotIn, and only with them',
              fieldPath: '.values',
            },
          ],
        },
      ),
      { maxItems: 16 },
    ),
  },
);

/**
 * Names of the Gateway API: lower-case DNS, one leading `*.` allowed, no address. What ends in a number is an address (as in
 * URLs), so the last label needs a letter or a hyphen. By pattern, because a CEL rule for each of so many names is beyond
 * the cost that Kubernetes allows a CRD.
 */
export const HOSTNAME = '^(\\*\\.)?([a-z0-9]([-a-z0-9]*[a-z0-9])?\\.)*([a-z]([-a-z0-9]*[a-z0-9])?|[0-9]+([a-z]|[-a-z][-a-z0-9]*[a-z0-9]))$';
export const hostname = string('A name in lower case; the last label is not a number.', { minLength: 1, maxLength: 253, pattern: HOSTNAME });

/** What a counter is kept for. */
export const rateScope = oneOf(
  'What has a counter of its own: PerAgent all runs of an agent together, PerExecution each run, PerRoute everybody together.',
  ['PerAgent', 'PerExecution', 'PerRoute'],
  { default: 'PerAgent' },
);
export const rateRequests = int32('How many in one window.', { minimum: 1 });
export const rateWindow = duration('The window.');

/** Absent or empty stands for the group itself. */
const ownGroup: Schema<string> = oneOf(`Group of the object; empty means ${GROUP}.`, ['', GROUP]);

/** An object of this namespace that a policy is for: one of `kinds`. */
export const policyTargetRef = (kinds: readonly string[]) =>
  object(
    'An object of this namespace.',
    { group: ownGroup, kind: oneOf('Kind of the object.', kinds), name: string('Name of the object.', { minLength: 1, maxLength: 253 }) },
    { sectionName: string('A part of the object; absent means all of it.', { maxLength: 253 }) },
  );

/** The same in the form of a parent reference. */
export const policyParentRef = (kinds: readonly string[], rules: readonly Rule[]) =>
  object(
    'An object of this namespace that the policy applies to.',
    { name: string('Name of the object.', { minLength: 1, maxLength: 253 }), kind: oneOf('Kind of the object.', kinds) },
    {
      group: ownGroup,
      namespace: string('Namespace of the object; only the own namespace is allowed.', { maxLength: 63 }),
      sectionName: string('A part of the object; absent means all of it.', { maxLength: 253 }),
      port: int32('To be left out: a policy is for all of an object. With a port it applies to nothing, and says so.', { minimum: 1, maximum: 65_535 }),
    },
    { rules },
  );
