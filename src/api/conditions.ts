import type { Condition } from './shared.ts';

export type ConditionInput = Omit<Condition, 'lastTransitionTime'>;

/** `conditions` with `next` in it; `lastTransitionTime` moves only when the status changes. */
export const setCondition = (conditions: readonly Condition[] | undefined, next: ConditionInput, now: string): readonly Condition[] => {
  const list = conditions ?? [];
  const index = list.findIndex(({ type }) => type === next.type);
  const old = list[index];
  const condition: Condition = { ...next, lastTransitionTime: old && old.status === next.status ? old.lastTransitionTime : now };
  return old ? list.with(index, condition) : [...list, condition];
};

export const findCondition = (conditions: readonly Condition[] | undefined, type: string): Condition | undefined =>
  conditions?.find((condition) => condition.type === type);

/** Whether the condition of that type is there and True. */
export const isTrue = (conditions: readonly Condition[] | undefined, type: string): boolean => findCondition(conditions, type)?.status === 'True';
