import type { FieldError, Kind } from '#api';
import { get } from './json.ts';

const MAX_REPLICAS = 2 ** 31 - 1;

/** What is wrong with the numbers of replicas that subresource `scale` shows, apart from what the schema says of them. */
export const checkScale = ({ subresources: { scale } }: Kind, object: unknown): FieldError[] =>
  (scale ? [scale.specReplicasPath, scale.statusReplicasPath] : []).flatMap((field): FieldError[] => {
    const value = field
      .split('.')
      .slice(1)
      .reduce((inner, name) => get(inner, name), object);
    if (!Number.isInteger(value)) return [];
    const bad = (why: string): FieldError[] => [{ field, reason: 'FieldValueInvalid', message: `Invalid value: ${String(value)}: ${why}` }];
    if (Number(value) < 0) return bad('should be a non-negative integer');
    return Number(value) > MAX_REPLICAS ? bad(`should be less than or equal to ${MAX_REPLICAS}`) : [];
  });
