import { formatIp, ipNumber } from '../slices.ts';

/** IPv4 addresses and ports, both ends included, that are to lead to a port of the gateway namespace. */
export interface Want {
  readonly from: number;
  readonly to: number;
  readonly fromPort: number;
  readonly toPort: number;
  readonly target: number;
}

interface Run extends Omit<Want, 'from' | 'to'> {
  from: number;
  to: number;
}

type Piece = Omit<Want, 'from' | 'to'>;

/** Parts of a port range that none of the pieces has. */
const uncovered = (want: Piece, pieces: readonly Piece[]): Piece[] =>
  pieces.reduce<Piece[]>(
    (rest, { fromPort, toPort }) =>
      rest.flatMap((part) =>
        part.toPort < fromPort || part.fromPort > toPort
          ? [part]
          : [
              { ...part, toPort: fromPort - 1 },
              { ...part, fromPort: toPort + 1 },
            ].filter((left) => left.fromPort <= left.toPort),
      ),
    [want],
  );

/** The ports of one address, by the wants that cover it in order; neighbours with one target are one piece. */
const paint = (wants: readonly Want[]): readonly Piece[] => {
  const pieces: Piece[] = [];
  for (const { fromPort, toPort, target } of wants) pieces.push(...uncovered({ fromPort, toPort, target }, pieces));
  const joined: Piece[] = [];
  for (const piece of pieces.sort((a, b) => a.fromPort - b.fromPort)) {
    const last = joined.at(-1);
    if (last && last.target === piece.target && last.toPort + 1 === piece.fromPort) joined[joined.length - 1] = { ...last, toPort: piece.toPort };
    else joined.push(piece);
  }
  return joined;
};

/**
 * Disjoint elements that say the same as the wants in their order, an earlier one before a later one: an nftables map whose
 * elements overlap takes some of them, and finds any.
 */
export const disjoint = (wants: readonly Want[]): readonly Want[] => {
  const starts = Map.groupBy(wants.keys(), (index) => wants[index]!.from);
  const ends = Map.groupBy(wants.keys(), (index) => wants[index]!.to + 1);
  const borders = [...new Set([...starts.keys(), ...ends.keys()])].sort((a, b) => a - b);
  const active = new Set<number>();
  const open = new Map<string, Run>();
  const done: Want[] = [];
  for (const border of borders) {
    for (const index of ends.get(border) ?? []) active.delete(index);
    for (const index of starts.get(border) ?? []) active.add(index);
    const pieces = paint([...active].sort((a, b) => a - b).map((index) => wants[index]!));
    const keys = new Set(pieces.map(({ fromPort, toPort, target }) => `${fromPort} ${toPort} ${target}`));
    for (const [key, run] of open) {
      if (keys.has(key)) continue;
      open.delete(key);
      done.push({ ...run, to: border - 1 });
    }
    for (const piece of pieces) {
      const key = `${piece.fromPort} ${piece.toPort} ${piece.target}`;
      if (!open.has(key)) open.set(key, { ...piece, from: border, to: border });
    }
  }
  return done;
};

/** A range of addresses as nft writes it. */
export const addressesText = ({ from, to }: Pick<Want, 'from' | 'to'>): string => (from === to ? formatIp(from) : `${formatIp(from)}-${formatIp(to)}`);

export const portsText = ({ fromPort, toPort }: Pick<Want, 'fromPort' | 'toPort'>): string => (fromPort === toPort ? `${fromPort}` : `${fromPort}-${toPort}`);

/** First and last address of an IPv4 range; undefined for an IPv6 one, which no sandbox can dial. */
export const rangeOf = (cidr: string): Pick<Want, 'from' | 'to'> | undefined => {
  const [address = '', prefix = '32'] = cidr.split('/');
  if (address.includes(':')) return undefined;
  const size = 2 ** (32 - Number(prefix));
  const from = Math.floor(ipNumber(address) / size) * size;
  return { from, to: from + size - 1 };
};
