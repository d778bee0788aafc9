import type { EgressL4Route } from '#api';

export type LabelSelector = NonNullable<NonNullable<NonNullable<EgressL4Route['spec']['rules'][number]['matches']>[number]['sourceAgents']>>;
export type Labels = Readonly<Record<string, string>>;

/** Whether labels are what a selector asks for; an empty selector asks for nothing. Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/ */
export const selects = ({ matchLabels = {}, matchExpressions = [] }: LabelSelector, labels: Labels): boolean => {
  const valueOf = (key: string): string | undefined => (Object.hasOwn(labels, key) ? labels[key] : undefined);
  return (
    Object.entries(matchLabels).every(([key, value]) => valueOf(key) === value) &&
    matchExpressions.every(({ key, operator, values = [] }) => {
      const value = valueOf(key);
      if (operator === 'Exists') return value !== undefined;
      if (operator === 'DoesNotExist') return value === undefined;
      // As in Kubernetes, NotIn also selects what does not have the label.
      return operator === 'In' ? value !== undefined && values.includes(value) : value === undefined || !values.includes(value);
    })
  );
};

export const isEmpty = ({ matchLabels = {}, matchExpressions = [] }: LabelSelector): boolean =>
  Object.keys(matchLabels).length === 0 && matchExpressions.length === 0;
