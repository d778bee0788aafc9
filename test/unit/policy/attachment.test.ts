import { describe, expect, test } from 'vitest';
import type { EgressGateway, ParentRef } from '#api';
import { budget, compile, credentialPolicy, denyPolicy, gateway, l4Route, route } from './objects.ts';

/** Which listeners routes attach to, and what is said when they do not. */

type Listener = EgressGateway['spec']['listeners'][number];
const TERM: Listener = { name: 'term', protocol: 'TLS', tls: { mode: 'Terminate' } };
const PASS: Listener = { name: 'pass', protocol: 'TLS' };
const DB: Listener = { name: 'db', protocol: 'TCP', port: 5432 };
const DNS: Listener = { name: 'dns', protocol: 'UDP', port: 53 };

const LABELS: Readonly<Record<string, Readonly<Record<string, string>>>> = { team: { egress: 'shared' }, other: {} };

const attach = (listeners: readonly Listener[], ref: Partial<ParentRef>, from = 'demo', match: object = {}) => {
  const of = l4Route(
    { parentRefs: [{ kind: 'EgressGateway', name: 'egress', namespace: 'demo', ...ref }], rules: [{ matches: [match] }] },
    'l4',
    undefined,
    from,
  );
  const { policySet, routes } = compile({
    gateway: gateway({ listeners }),
    aiRoutes: [],
    credentialPolicies: [],
    l4Routes: [of],
    namespaceLabels: (name) => LABELS[name],
  });
  const { status, reason, message } = routes[0]!.parents[0]!.accepted;
  return { state: `${status}/${reason}`, message, listeners: policySet.l4Routes[0]?.listeners ?? [] };
};

describe('by name, section and port', () => {
  test.each<[Partial<ParentRef>, readonly string[]]>([
    [{}, ['term', 'pass', 'db', 'dns']],
    [{ group: 'clrk.apoxy.dev' }, ['term', 'pass', 'db', 'dns']],
    [{ group: '' }, ['term', 'pass', 'db', 'dns']],
    [{ sectionName: 'db' }, ['db']],
    [{ port: 5432 }, ['db']],
    [{ sectionName: 'db', port: 5432 }, ['db']],
  ])('%j', (ref, listeners) => expect(attach([TERM, PASS, DB, DNS], ref)).toMatchObject({ state: 'True/Accepted', listeners }));

  test.each<[Partial<ParentRef>, string]>([
    [{ sectionName: 'nope' }, 'EgressGateway egress has no listener nope; it has term, db.'],
    [{ port: 443 }, 'No listener of EgressGateway egress is for exactly port 443.'],
    [{ sectionName: 'term', port: 443 }, 'Listener term is not for exactly port 443.'],
  ])('%j is no listener', (ref, message) => expect(attach([TERM, DB], ref)).toEqual({ state: 'False/NoMatchingParent', message, listeners: [] }));
});

describe('by protocol', () => {
  const udp = { protocol: 'UDP', destinationHostnames: ['ntp.test'], ports: [{ port: 53 }] };
  test('rules for UDP need a listener for it, those for TCP another', () => {
    expect(attach([TERM, DNS], {}, 'demo', udp).listeners).toEqual(['dns']);
    expect(attach([TERM, DNS], {}, 'demo', { protocol: 'TCP' }).listeners).toEqual(['term']);
    expect(attach([TERM], {}, 'demo', udp)).toMatchObject({
      state: 'False/NotAllowedByListeners',
      message: 'Listener term is of shape tls-terminate; rules with protocol UDP need a listener with protocol UDP.',
    });
  });
  test('a rule that is too wide for UDP lets nothing through, and says which field', () =>
    expect(attach([DNS], {}, 'demo', { ...udp, ports: [{ startPort: 1, endPort: 65 }] })).toMatchObject({
      state: 'False/UnsupportedValue',
      message: 'spec.rules[0] lets nothing through: spec.rules[0].matches[0].ports names 65 ports; for UDP at most 64 are possible.',
    }));
});

describe('by allowedRoutes', () => {
  const allowing = (allowedRoutes: Listener['allowedRoutes']): readonly Listener[] => [{ ...DB, allowedRoutes }];
  const selector = { matchLabels: { egress: 'shared' } };
  test.each<[string, Listener['allowedRoutes'], string, string | undefined]>([
    ['own namespace by default', undefined, 'demo', undefined],
    ['no other by default', undefined, 'team', 'takes routes of its own namespace only'],
    ['Same', { namespaces: { from: 'Same' } }, 'team', 'set allowedRoutes.namespaces.from to All or Selector to take those of team'],
    ['All', { namespaces: { from: 'All' } }, 'team', undefined],
    ['None, also the own', { namespaces: { from: 'None' } }, 'demo', 'takes routes of no namespace'],
    ['Selector, that has the labels', { namespaces: { from: 'Selector', selector } }, 'team', undefined],
    ['Selector, that has not', { namespaces: { from: 'Selector', selector } }, 'other', 'allowedRoutes.namespaces.selector), and other does not have them'],
    ['Selector, that is not known', { namespaces: { from: 'Selector', selector: {} } }, 'gone', 'gone does not have them'],
    ['Selector without one', { namespaces: { from: 'Selector' } }, 'team', 'selects nothing'],
    ['its kind', { kinds: [{ kind: 'EgressL4Route' }] }, 'demo', undefined],
    ['its kind and group', { kinds: [{ kind: 'EgressL4Route', group: 'clrk.apoxy.dev' }] }, 'demo', undefined],
    ['another kind', { kinds: [{ kind: 'AIProviderRoute' }, { kind: 'MCPRoute' }] }, 'demo', 'takes routes of kind AIProviderRoute, MCPRoute only'],
    ['another group', { kinds: [{ kind: 'EgressL4Route', group: 'example.com' }] }, 'demo', 'takes routes of kind'],
  ])('%s', (_, allowedRoutes, from, problem) => {
    const { state, message } = attach(allowing(allowedRoutes), {}, from);
    expect(state).toBe(problem === undefined ? 'True/Accepted' : 'False/NotAllowedByListeners');
    if (problem) expect(message).toContain(problem);
  });
});

test('a route of another namespace brings its own policies, Secrets and budget', () => {
  const parentRefs = [{ kind: 'EgressGateway', name: 'egress', namespace: 'demo' }];
  const rules = [{ matches: [{ provider: 'openai' }], filters: [budget(7)] }];
  const theirs = route({ parentRefs, rules }, 'openai', undefined, 'team');
  const { policySet, credentials, listeners } = compile({
    gateway: gateway({ listeners: [{ ...TERM, allowedRoutes: { namespaces: { from: 'All' } } }] }),
    aiRoutes: [theirs],
    credentialPolicies: [credentialPolicy(), { ...credentialPolicy(), metadata: { ...credentialPolicy().metadata, namespace: 'team' } }],
    denyPolicies: [denyPolicy({ targetRef: { group: '', kind: 'AIProviderRoute', name: 'openai' } })],
    secret: (_, namespace) => ({ token: `Bearer ${namespace}` }),
  });
  expect(policySet.aiRoutes).toMatchObject([
    { route: { namespace: 'team', name: 'openai' }, credential: { policy: 'team/key' }, rules: [{ budgets: [{ key: 'budget/team/openai/demo/egress' }] }] },
  ]);
  expect(policySet.aiRoutes[0]!.denied).toBeUndefined();
  expect(credentials).toEqual([{ name: 'cred:team/key', value: 'Bearer team' }]);
  expect(listeners[0]!.attachedRoutes).toBe(1);
});

test('what an accepted route should be told', () => {
  const message = (rules: object[]): string =>
    compile({ gateway: gateway({ listeners: [DB] }), aiRoutes: [], credentialPolicies: [], l4Routes: [l4Route({ rules: rules as never })] }).routes[0]!
      .parents[0]!.accepted.message;
  expect(message([{ matches: [{}] }])).toBe('Attached to listener db.');
  expect(message([{}, { matches: [{ sourceAgents: { matchLabels: { a: 'b' } } }] }])).toBe(
    'Attached to listener db. spec.rules[0] has no matches, so it matches nothing. spec.rules[1].matches[0].sourceAgents selects no agent.',
  );
});

test('what an accepted AI route should be told', () => {
  const accepted = (...rules: object[]) => compile({ aiRoutes: [route({ rules: rules as never })] }).routes[0]!.parents[0]!.accepted;
  const openai = { matches: [{ provider: 'openai' }] };
  expect(accepted(openai)).toMatchObject({ status: 'True', message: 'Attached to listener tls.' });
  expect(accepted({}, { matches: [] }, openai)).toMatchObject({
    status: 'True',
    message: 'Attached to listener tls. spec.rules[0] has no matches, so it matches nothing. spec.rules[1] has no matches, so it matches nothing.',
  });
  const filter = (tokenBudget: object) => ({ type: 'TokenBudget', tokenBudget });
  expect(accepted({ ...openai, filters: [budget(0), filter({}), filter({ budgetRef: 'team' }), filter({ maxOutputTokensPerRequest: 5 })] }).message).toBe(
    'Attached to listener tls. spec.rules[0].filters[1].tokenBudget has no cap, so it limits nothing. spec.rules[0].filters[2].tokenBudget has no cap, so it limits nothing.',
  );
});

test('of two listeners for the same, the one that never takes anything is Conflicted and names the other', () => {
  const conflicts = (listeners: readonly Listener[], ...refs: Partial<ParentRef>[]): readonly string[] =>
    compile({
      gateway: gateway({ listeners }),
      aiRoutes: [],
      credentialPolicies: [],
      l4Routes: refs.map((ref, index) => l4Route({ parentRefs: [{ kind: 'EgressGateway', name: 'egress', ...ref }] }, `r${index}`)),
    }).listeners.flatMap(({ name, conflicted }) => (conflicted.status === 'True' ? [`${name}: ${/listener (.*?) goes/.exec(conflicted.message)?.[1]}`] : []));
  const HTTP: Listener = { name: 'http', protocol: 'HTTP' };
  const TCP: Listener = { name: 'tcp', protocol: 'TCP' };
  expect(conflicts([TERM, PASS], {})).toEqual(['pass: term']);
  expect(conflicts([TERM, PASS], {}, { sectionName: 'pass' })).toEqual([]);
  expect(conflicts([TERM, { ...PASS, port: 443 }], {})).toEqual([]);
  expect(conflicts([TERM, HTTP, TCP], {})).toEqual(['tcp: term and http']);
  expect(conflicts([TERM, TCP], {})).toEqual([]);
  expect(conflicts([TERM, { ...TERM, name: 'again' }], {})).toEqual([]);
  expect(conflicts([TERM, PASS])).toEqual([]);
});
