import type { ConnectionFacts, Handling, ListenerShape, PolicyListener, PolicySet } from '#model';

/** Which listener shape goes first among those for the same port. */
const PRIORITY: Readonly<Record<ListenerShape, number>> = { 'tls-terminate': 5, https: 4, http: 3, 'tls-passthrough': 2, tcp: 1, udp: 0 };

export const HANDLING: Readonly<Record<ListenerShape, Handling>> = {
  'tls-terminate': 'terminate',
  https: 'terminate',
  http: 'http',
  'tls-passthrough': 'passthrough',
  tcp: 'tcp',
  udp: 'udp',
};

/** What a client can speak to a listener of a shape. A client that waits for the server's first word counts as `plain`. */
export const CARRIES: Readonly<Record<ListenerShape, readonly ('tls' | 'plain' | 'udp')[]>> = {
  'tls-terminate': ['tls'],
  https: ['tls'],
  http: ['plain'],
  'tls-passthrough': ['tls'],
  tcp: ['tls', 'plain'],
  udp: ['udp'],
};

/** Shapes on which HTTP over TLS is read, as AI and MCP routes need it. */
export const TERMINATES: ReadonlySet<ListenerShape> = new Set(['tls-terminate', 'https']);

/** Listeners of one shape that share a port: routes of all of them count. */
export interface Group {
  readonly shape: ListenerShape;
  readonly names: readonly string[];
}

const cache = new WeakMap<PolicySet, Map<string, readonly Group[]>>();

const groupsOf = (listeners: readonly PolicyListener[]): readonly Group[] =>
  [...new Set(listeners.map(({ shape }) => shape))]
    .sort((a, b) => PRIORITY[b] - PRIORITY[a])
    .map((shape) => ({ shape, names: listeners.filter((listener) => listener.shape === shape).map(({ name }) => name) }));

/** Listeners that take connections to a port. Who names the port decides: with such a listener, none without port is asked. */
export const takersOf = (listeners: readonly PolicyListener[], transport: ConnectionFacts['transport'], port: number): readonly PolicyListener[] => {
  const all = listeners.filter(({ shape }) => (shape === 'udp') === (transport === 'UDP'));
  const exact = all.filter((listener) => listener.port === port);
  return exact.length > 0 ? exact : all.filter((listener) => listener.port === undefined);
};

/** Listeners that a connection to `port` may be for, by shape, the first choice first. */
export const groupsAt = (set: PolicySet, transport: ConnectionFacts['transport'], port: number): readonly Group[] => {
  const listeners = set.listeners.filter(({ shape }) => (shape === 'udp') === (transport === 'UDP'));
  const key = listeners.some((listener) => listener.port === port) ? `${transport}/${port}` : transport;
  let known = cache.get(set);
  if (!known) cache.set(set, (known = new Map()));
  let groups = known.get(key);
  if (!groups) {
    groups = groupsOf(takersOf(set.listeners, transport, port));
    known.set(key, groups);
  }
  return groups;
};

/** Those of them that can carry what the client speaks. */
export const carriersOf = (set: PolicySet, { transport, port, speaks }: Pick<ConnectionFacts, 'transport' | 'port' | 'speaks'>): readonly Group[] =>
  groupsAt(set, transport, port).filter(({ shape }) => CARRIES[shape].includes(transport === 'UDP' ? 'udp' : speaks));

/** Whether a gateway answers for names that nothing admits: some listener reads HTTP, and can say why with a 403. */
export const answersDenied = ({ listeners }: Pick<PolicySet, 'listeners'>): boolean => listeners.some(({ shape }) => TERMINATES.has(shape) || shape === 'http');
