import type { Sighting } from '../fixtures/canary/places.ts';
import type { Step } from './steps.ts';
import type { VariantName } from './variants.ts';

/** What the suite needs of a proxy and its sandboxes. `clrk/target.ts` is ours; another proxy is another file like it. */

/** A part of the proxy that can fail. */
export type Part = 'proxy' | 'policy-engine' | 'ledger' | 'control-plane' | 'dns' | 'recorder';

/** What is done to the policy of a variant while an attempt runs. */
export type PolicyChange = 'deny';

/** A line of the proxy's record, in the words of `clrk egress log -o json`. */
export interface TargetRecord {
  /** RFC 3339. */
  readonly time: string;
  readonly protocol: string;
  readonly host: string;
  /** As it was dialled, `address:port` where there is a port. */
  readonly destination: string;
  readonly path: string;
  readonly status: number;
  readonly verdict: string;
  readonly reason: string;
  readonly decisionId: string;
}

/** One run of the probe in a sandbox. */
export interface Run {
  readonly id: string;
  /** One result a step, as the probe gives them. */
  readonly results: readonly unknown[];
}

export interface Target extends AsyncDisposable {
  readonly name: string;
  /** Features beyond the first: cases that need another one are left out. */
  readonly has: ReadonlySet<'l4'>;
  /** The credential the proxy adds, which nothing may show. */
  readonly key: string;
  /** Values for `{{name}}` in steps: addresses and ports that are known only now. */
  readonly values: Readonly<Record<string, string>>;
  /** Puts the policies in force, and resolves when all are. */
  prepare(variants: readonly VariantName[]): Promise<void>;
  /** Runs steps in a new sandbox under that policy. */
  run(variant: VariantName, steps: readonly Step[]): Promise<Run>;
  /** Has a program make an attempt before it is given its event. */
  early(variant: VariantName, steps: readonly Step[]): Promise<Run>;
  /** Starts another sandbox that listens for TCP and UDP at `{{neighbour}}:{{neighbourPort}}` and tells what it gets. */
  neighbour(): Promise<void>;
  /** Runs steps on the machine of the proxy, outside of any sandbox. */
  outside(steps: readonly Step[]): Promise<Run>;
  /** Records of a run once `complete` holds, or those there are after some seconds. */
  records(run: Run, complete: (records: readonly TargetRecord[]) => boolean): Promise<readonly TargetRecord[]>;
  /** What canaries (the provider and runs that were started among them) saw since the last call. */
  sightings(): Promise<readonly Sighting[]>;
  /** Freezes or kills a part. Resolves with what mends it: the part is back when that resolves. */
  disturb(part: Part, how: 'frozen' | 'killed'): Promise<() => Promise<void>>;
  /** Changes the policy of a variant; resolves when it is in force, with what undoes it. */
  change(variant: VariantName, change: PolicyChange): Promise<() => Promise<void>>;
}
