import type { L4Ports } from '#model';
import { networkAt, type Cidr } from './cidr.ts';
import { patternOf, patternsAbove } from './l4.ts';

/** Ports of a destination that something else has a say in. */
type Blocker = readonly L4Ports[];

type Lists = Map<string, Blocker[]>;
const add = (lists: Lists, key: string, blocker: Blocker): void => void (lists.get(key)?.push(blocker) ?? lists.set(key, [blocker]));
const rangeKey = ({ family, network }: Cidr, length: number): string => `${family}/${length}/${networkAt({ family, value: network }, length)}`;

/** Blockers by destination, so that those which overlap one are found without asking all. */
export class Blockers {
  readonly #all: Blocker[] = [];
  readonly #anywhere: Blocker[] = [];
  readonly #hosts: Lists = new Map();
  /** By pattern: of names that the pattern covers. */
  readonly #below: Lists = new Map();
  readonly #ranges: Lists = new Map();
  /** By range: of ranges inside it. */
  readonly #inside: Lists = new Map();
  readonly #lengths: ReadonlySet<number>;

  /** `lengths` are the prefix lengths of the ranges that will be asked about. */
  constructor(lengths: ReadonlySet<number>) {
    this.#lengths = lengths;
  }

  addHost(host: string, blocker: Blocker): void {
    this.#all.push(blocker);
    add(this.#hosts, host, blocker);
    if (!host.startsWith('*')) add(this.#below, patternOf(host), blocker);
  }

  addRange(range: Cidr, blocker: Blocker): void {
    this.#all.push(blocker);
    add(this.#ranges, rangeKey(range, range.prefix), blocker);
    for (const length of this.#lengths) if (length < range.prefix) add(this.#inside, rangeKey(range, length), blocker);
  }

  addAnywhere(blocker: Blocker): void {
    this.#all.push(blocker);
    this.#anywhere.push(blocker);
  }

  /** Of a name, or of all names of a pattern; a pattern blocks names of any depth below it, as it does in the choice of a listener. */
  ofHost(host: string): readonly Blocker[] {
    const above = patternsAbove(host).flatMap((pattern) => this.#hosts.get(pattern) ?? []);
    return [...(this.#hosts.get(host) ?? []), ...(this.#below.get(host) ?? []), ...above, ...this.#anywhere];
  }

  ofRange(range: Cidr): readonly Blocker[] {
    const around = Array.from({ length: range.prefix + 1 }, (_, length) => this.#ranges.get(rangeKey(range, length)) ?? []).flat();
    return [...around, ...(this.#inside.get(rangeKey(range, range.prefix)) ?? []), ...this.#anywhere];
  }

  get all(): readonly Blocker[] {
    return this.#all;
  }
}
