import type { JsonSchema } from './schema.ts';

/** A schema as it goes into CRDs and OpenAPI documents: without our own marks. */
export const toOpenApi = (node: JsonSchema): JsonSchema => {
  const { built: _, builtNote: __, ...schema } = node;
  return {
    ...schema,
    ...(schema.properties && { properties: Object.fromEntries(Object.entries(schema.properties).map(([name, child]) => [name, toOpenApi(child)])) }),
    ...(schema.items && { items: toOpenApi(schema.items) }),
    ...(schema.additionalProperties && { additionalProperties: toOpenApi(schema.additionalProperties) }),
  };
};
