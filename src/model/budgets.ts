import type { BudgetCounter, BudgetUnit, BudgetWindow } from './ports.ts';

/** A cap that the rules of a gateway hold against a counter. */
export interface BudgetCap {
  /** As in BudgetEntry. */
  readonly key: string;
  readonly unit: BudgetUnit;
  readonly window: BudgetWindow;
  readonly cap: number;
  /** `AIProviderRoute/<namespace>/<name>` */
  readonly route: string;
  /** `namespace/name` */
  readonly gateway: string;
  readonly field: string;
}

/** Controllers as the runtime API sees them: every cap of the routes of one namespace or (empty) all; undefined while they start. */
export interface CapsPort {
  caps(namespace: string): readonly BudgetCap[] | undefined;
}

/** The ledger as the runtime API sees it. */
export interface CountersPort {
  /** Counters of today and of runs that are under way, of one namespace or (empty) all. */
  counters(namespace: string): Promise<readonly BudgetCounter[]>;
}
