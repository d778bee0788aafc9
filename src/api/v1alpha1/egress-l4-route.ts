import { isCidr } from '#lib';
import { AGE, clrkKind, type FieldError, type Kind, type Resource } from '../kind.ts';
import { array, int32, object, oneOf, set, string, unbuilt, type Infer } from '../schema.ts';
import { attachmentColumns, backendRefs, extensionRef, filterRules, hostname, labelSelector, routeParentRefs, routeParents } from '../shared.ts';

const portNumber = (description: string) => int32(description, { minimum: 1, maximum: 65_535 });

const ports = object(
  'One port, or a range.',
  {},
  { port: portNumber('One port.'), startPort: portNumber('First port of a range.'), endPort: portNumber('Last port of a range.') },
  {
    rules: [
      { rule: 'has(self.port) != has(self.startPort)', message: 'exactly one of port and startPort must be set' },
      { rule: 'has(self.startPort) == has(self.endPort)', message: 'startPort and endPort go together' },
      { rule: '!has(self.startPort) || !has(self.endPort) || self.startPort <= self.endPort', message: 'must not be below startPort', fieldPath: '.endPort' },
    ],
  },
);

const match = object(
  'What a connection must be; all that is given must hold. Agents are selected by their own labels (metadata.labels), not those of their template.',
  {},
  {
    destinationCIDRs: set(
      'Ranges of addresses: alone, those dialled without a name; with names, those that the names must resolve to. Absent = public addresses.',
      string('', { minLength: 1, maxLength: 49 }),
      { maxItems: 256 },
    ),
    destinationHostnames: set('Names; `*.` stands for exactly one label. Absent = any name, unless there are ranges.', hostname, { maxItems: 256 }),
    ports: array('Ports; absent = any. For UDP at most 64 must be given.', ports, { maxItems: 64 }),
    protocol: oneOf('Transport; absent = that of the listener.', ['TCP', 'UDP']),
    sourceAgents: labelSelector,
  },
);

const spec = object('Which connections are let through.', {
  parentRefs: routeParentRefs,
  rules: array(
    'The first rule that matches decides.',
    object(
      'One rule.',
      {},
      {
        matches: array('Alternatives; none = the rule matches nothing.', match, { maxItems: 64 }),
        filters: array(
          'What is done with matching connections.',
          object(
            'What is done with a connection that matched.',
            { type: oneOf('Which of the fields below applies.', ['ExtensionRef']) },
            { extensionRef: unbuilt(extensionRef(['RateLimitPolicy', 'LoggingPolicy'])) },
            { rules: filterRules({ ExtensionRef: 'extensionRef' }) },
          ),
          { maxItems: 16 },
        ),
        backendRefs,
      },
    ),
    { minItems: 1, maxItems: 64 },
  ),
});

const status = object('How the route fares.', {}, { parents: routeParents });

export type EgressL4Route = Resource<Infer<typeof spec>, Infer<typeof status>>;

const checkRanges = ({ spec: { rules } }: EgressL4Route): FieldError[] =>
  rules.flatMap(({ matches = [] }, r) =>
    matches.flatMap(({ destinationCIDRs = [] }, m) =>
      destinationCIDRs.flatMap((range, c): FieldError[] =>
        isCidr(range)
          ? []
          : [
              {
                field: `spec.rules[${r}].matches[${m}].destinationCIDRs[${c}]`,
                reason: 'FieldValueInvalid',
                message: `Invalid value: ${JSON.stringify(range)}: must be a range of addresses such as 10.40.0.0/16 or 2001:db8::/32`,
              },
            ],
      ),
    ),
  );

export const egressL4Routes: Kind<EgressL4Route> = clrkKind({
  kind: 'EgressL4Route',
  plural: 'egressl4routes',
  short: 'el4r',
  description: 'Lets connections through, by address, port and name.',
  spec,
  status,
  columns: [...attachmentColumns('parents'), AGE],
  admission: checkRanges,
});
