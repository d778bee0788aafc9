import type { ConnectionFacts, L4Ports, PolicySet } from '#model';

/** Sets of ports: sorted, disjoint intervals. */

export const ALL_PORTS: readonly L4Ports[] = [{ from: 1, to: 65_535 }];

/** The same ports, sorted, with overlapping and touching intervals joined. */
export const unitePorts = (ports: readonly L4Ports[]): readonly L4Ports[] => {
  const united: { from: number; to: number }[] = [];
  for (const { from, to } of ports.toSorted((a, b) => a.from - b.from)) {
    const last = united.at(-1);
    if (last && from <= last.to + 1) last.to = Math.max(last.to, to);
    else united.push({ from, to });
  }
  return united;
};

export const intersectPorts = (a: readonly L4Ports[], b: readonly L4Ports[]): readonly L4Ports[] =>
  a.flatMap((x) =>
    b.flatMap((y) => {
      const [from, to] = [Math.max(x.from, y.from), Math.min(x.to, y.to)];
      return from <= to ? [{ from, to }] : [];
    }),
  );

export const subtractPorts = (ports: readonly L4Ports[], without: readonly L4Ports[]): readonly L4Ports[] =>
  without.reduce<readonly L4Ports[]>(
    (rest, { from, to }) =>
      rest.flatMap((range) =>
        [
          { from: range.from, to: Math.min(range.to, from - 1) },
          { from: Math.max(range.from, to + 1), to: range.to },
        ].filter((part) => part.from <= part.to),
      ),
    ports,
  );

/** The ports on which listeners of these names may take a connection: their own, or those that no listener names. */
export const portsOf = (set: PolicySet, transport: ConnectionFacts['transport'], names: readonly string[]): readonly L4Ports[] => {
  const listeners = set.listeners.filter(({ shape }) => (shape === 'udp') === (transport === 'UDP'));
  const named = listeners.flatMap(({ port }) => (port === undefined ? [] : [{ from: port, to: port }]));
  const mine = listeners.filter(({ name }) => names.includes(name));
  const own = mine.flatMap(({ port }) => (port === undefined ? [] : [{ from: port, to: port }]));
  return unitePorts([...own, ...(mine.some(({ port }) => port === undefined) ? subtractPorts(ALL_PORTS, named) : [])]);
};
