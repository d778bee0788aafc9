import { compilePattern } from '#lib';
import { AGE, clrkKind, type FieldError, type Kind, type Resource } from '../kind.ts';
import { array, builtWhen, int32, object, oneOf, string, unbuilt, type Infer } from '../schema.ts';
import {
  attachmentColumns,
  backendRefs,
  extensionRef,
  filterRules,
  hostname,
  rateRequests,
  rateScope,
  rateWindow,
  routeParentRefs,
  routeParents,
} from '../shared.ts';

const text = string('', { minLength: 1, maxLength: 1024 });
const globs = (description: string) => array(description, text, { maxItems: 256 });
const patterns = (description: string) => array(`${description} Regular expressions of RE2, found anywhere in the name.`, text, { maxItems: 64 });

const match = object(
  'What a message must be; all that is given must hold. What only sets up or keeps a session (initialize, server/discover, ping, notifications, answers to the server, its streams) is admitted wherever the server fits.',
  {},
  {
    servers: globs(
      'URLs of servers: `https://HOST[:PORT]/PATH`, without a port 443. In HOST `*` stands for a part of a label, in PATH for any text; without a path every path is meant. Absent = every path of the hosts of the route, on port 443. Where every path is meant, only POST is let through: GET (a stream of the server) and DELETE (the end of a session) need a path, or they could be for anything the host has.',
    ),
    tools: globs(
      'Globs of names, in which `*` stands for any text: what tools/call may call. Without methods the match admits tools/list beside that, and no other method. Absent = any.',
    ),
    toolsRegex: patterns('More tool names.'),
    resources: globs(
      'Globs of URIs, in which `*` stands for any text: what resources/read, subscribe and unsubscribe, and subscriptions/listen, may name. Without methods the match admits resources/list and resources/templates/list beside that, and no other method. Absent = any.',
    ),
    methods: globs('JSON-RPC methods, as globs (`tools/*`); absent = any, or those that tools and resources are about.'),
  },
);

const toolPolicy = object(
  'Which tools may be called, and how often. A call that may not be made is answered with a JSON-RPC error, and does not reach the server.',
  {},
  {
    allowedTools: globs('Globs of tools that may be called, `*` for any text; with allowedToolsRegex absent too = all.'),
    allowedToolsRegex: patterns('More tools that may be called.'),
    deniedTools: globs('Globs of tools that may not be called; checked after those that may.'),
    deniedToolsRegex: patterns('More tools that may not be called.'),
    requireConfirmation: unbuilt(globs('Globs of tools a person has to approve first.')),
    maxCallsPerExecution: unbuilt(int32('Tool calls in one run.', { minimum: 0 })),
    rateLimits: unbuilt(
      array(
        'Caps on the rate of calls; each is counted for itself.',
        object(
          'One cap.',
          { requests: rateRequests, window: rateWindow, scope: rateScope },
          { tools: globs('Globs of tools it counts; with toolsRegex absent too = all of the rule.'), toolsRegex: patterns('More tools it counts.') },
        ),
        { maxItems: 16 },
      ),
    ),
  },
);

const spec = object(
  'Which MCP traffic is let through, and which tools.',
  {
    parentRefs: routeParentRefs,
    rules: array(
      'The first rule that matches decides.',
      object(
        'One rule.',
        {},
        {
          matches: array('Alternatives.', match, { maxItems: 64 }),
          filters: array(
            'What is done with matching requests.',
            object(
              'What is done with a request that matched.',
              {
                type: builtWhen(
                  oneOf('Which of the fields below applies.', ['ToolPolicy', 'ExtensionRef']),
                  (value) => value === 'ToolPolicy',
                  'ToolPolicy only',
                ),
              },
              { toolPolicy, extensionRef: extensionRef(['RateLimitPolicy', 'LoggingPolicy']) },
              { rules: filterRules({ ToolPolicy: 'toolPolicy', ExtensionRef: 'extensionRef' }) },
            ),
            { maxItems: 16 },
          ),
          backendRefs,
        },
      ),
      { minItems: 1, maxItems: 64 },
    ),
  },
  {
    hostnames: array(
      'Hosts of the servers, which no EgressL4Route lets anything through to: names, or `*.` for exactly one label. Absent = the hosts that servers name; a route without either is for no host.',
      hostname,
      { maxItems: 64 },
    ),
  },
);

const status = object('How the route fares.', {}, { parents: routeParents });

export type MCPRoute = Resource<Infer<typeof spec>, Infer<typeof status>>;

const checkPatterns = (field: string, list: readonly string[] = []): FieldError[] =>
  list.flatMap((pattern, index): FieldError[] => {
    const compiled = compilePattern(pattern);
    return 'invalid' in compiled
      ? [
          {
            field: `${field}[${index}]`,
            reason: 'FieldValueInvalid',
            message: `Invalid value: ${JSON.stringify(pattern)}: must be a regular expression of RE2: ${compiled.invalid}`,
          },
        ]
      : [];
  });

const checkRegexes = ({ spec: { rules } }: MCPRoute): FieldError[] =>
  rules.flatMap(({ matches = [], filters = [] }, r) => [
    ...matches.flatMap(({ toolsRegex }, m) => checkPatterns(`spec.rules[${r}].matches[${m}].toolsRegex`, toolsRegex)),
    ...filters.flatMap((filter, f) => {
      const field = `spec.rules[${r}].filters[${f}].toolPolicy`;
      const { allowedToolsRegex, deniedToolsRegex, rateLimits = [] } = filter.toolPolicy ?? {};
      return [
        ...checkPatterns(`${field}.allowedToolsRegex`, allowedToolsRegex),
        ...checkPatterns(`${field}.deniedToolsRegex`, deniedToolsRegex),
        ...rateLimits.flatMap(({ toolsRegex }, l) => checkPatterns(`${field}.rateLimits[${l}].toolsRegex`, toolsRegex)),
      ];
    }),
  ]);

export const mcpRoutes: Kind<MCPRoute> = clrkKind({
  kind: 'MCPRoute',
  plural: 'mcproutes',
  short: 'mcpr',
  description: 'Lets traffic to MCP servers through, by server, method and tool.',
  spec,
  status,
  columns: [...attachmentColumns('parents'), AGE],
  admission: checkRegexes,
});
