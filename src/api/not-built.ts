import type { JsonSchema } from './schema.ts';

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> => value !== null && typeof value === 'object' && !Array.isArray(value);

/** Paths below `path` whose values are set but not built; a value that is not built is named once, not its insides. */
export const notBuiltIn = (schema: JsonSchema, value: unknown, path: string, key: string | number = ''): string[] => {
  if (value === undefined || value === null) return [];
  if (schema.built && !schema.built(value as never, key)) return [path];
  if (Array.isArray(value)) return schema.items ? value.flatMap((item, index) => notBuiltIn(schema.items!, item, `${path}[${index}]`, index)) : [];
  if (!isObject(value)) return [];
  return Object.entries(value).flatMap(([name, child]) => {
    const below = schema.properties && Object.hasOwn(schema.properties, name) ? schema.properties[name] : schema.additionalProperties;
    return below ? notBuiltIn(below, child, path ? `${path}.${name}` : name, name) : [];
  });
};
