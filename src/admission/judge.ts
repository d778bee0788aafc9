import { apiVersionOf, type JsonSchema, type Kind } from '#api';
import { nearest } from '#lib';
import { admit, metadataOf, newborn, withMetadata } from './admit.ts';
import { decodeMetadata, WrongType } from './decode-metadata.ts';
import { get, isObject, type JsonObject } from './json.ts';
import { objectSchema } from './meta.ts';
import { prune } from './structural.ts';
import { storedKind, toStored } from './view.ts';

/** One thing that is wrong with a document. */
export interface Problem {
  /** `spec.rules[0].matches`; empty when it is the document as a whole. */
  readonly field: string;
  readonly message: string;
  /** The field is there but has no place in the kind. */
  readonly unknown?: true;
}

/** The schema of the object that has a field, or undefined where the schema says nothing of it. */
const parentSchema = (kind: Kind, field: string): JsonSchema | undefined => {
  const steps = [...field.matchAll(/\[\d+\]|[^.[\]]+/g)].map(([step]) => step);
  let schema: JsonSchema | undefined = objectSchema(kind);
  for (const step of steps.slice(0, -1)) {
    if (step.startsWith('[')) schema = schema?.items;
    else schema = schema?.properties && Object.hasOwn(schema.properties, step) ? schema.properties[step] : schema?.additionalProperties;
  }
  return schema;
};

/** The name a field that is unknown was probably meant to have. */
export const meantField = (kind: Kind, field: string): string | undefined =>
  nearest(/[^.[\]]*$/.exec(field)![0], Object.keys(parentSchema(storedKind(kind), field)?.properties ?? {}));

/** Stands for what only the server can give. */
const BIRTH = { uid: '00000000-0000-0000-0000-000000000000', time: '1970-01-01T00:00:00Z' } as const;

/**
 * Everything a server would refuse `value` for when it is applied as a new object in `namespace` (server-side apply, strict
 * field validation), found in one go: a server stops at unknown fields before it looks at values. Empty = it would be taken.
 * What only a server knows (namespaces, the object's earlier version) is not looked at.
 */
export const judge = (kind: Kind, value: unknown, namespace: string): readonly Problem[] => {
  const at = storedKind(kind);
  const given = toStored(kind, value);
  if (!isObject(given)) return [{ field: '', message: 'is not an object' }];
  let decoded: JsonObject;
  try {
    decoded = decodeMetadata(given);
  } catch (error) {
    if (!(error instanceof WrongType)) throw error;
    return [{ field: error.field, message: error.message }];
  }
  const paths: string[] = [];
  const pruned = prune(objectSchema(at), { ...given, metadata: decoded }, paths);
  const problems: Problem[] = paths.map((field) => ({ field, message: 'unknown field', unknown: true }));
  if (!isObject(pruned)) return problems;
  const metadata = metadataOf(pruned);
  const name = metadata['name'];
  if (name === undefined || name === null || name === '') {
    const made = metadata['generateName'] ? '; a name made from generateName works with `kubectl create` only' : '';
    problems.push({ field: 'metadata.name', message: `Required value${made}` });
  } else if (typeof name !== 'string') problems.push({ field: 'metadata.name', message: `Invalid value: ${JSON.stringify(name)}: must be text` });
  if (!at.namespaced && metadata['namespace']) problems.push({ field: 'metadata.namespace', message: `must not be set: a ${at.kind} is in no namespace` });
  if ((get(get(given, 'metadata'), 'managedFields') ?? undefined) !== undefined)
    problems.push({ field: 'metadata.managedFields', message: 'must not be applied: the server keeps it' });
  const placed = withMetadata(
    { ...pruned, apiVersion: apiVersionOf(at), kind: at.kind },
    {
      namespace: at.namespaced ? (metadata['namespace'] ?? namespace) : undefined,
      selfLink: undefined,
      managedFields: undefined,
    },
  );
  const { errors } = admit(at, newborn(at, placed, { name: typeof name === 'string' && name !== '' ? name : 'unnamed', ...BIRTH }), undefined);
  // The last only says that rules were not checked, which the others say by being there.
  return [...problems, ...errors.filter(({ field }) => field !== '<nil>').map(({ field, message }) => ({ field: field.replace(/^\./, ''), message }))];
};
