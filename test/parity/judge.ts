import { apiVersionOf, type Kind } from '#api';
import type { Answer, TestClient } from '../unit/apiserver/harness.ts';
import type { Input } from './table.ts';

/** What a server says to an input, in a form that does not depend on when and where it was asked. */

/** `{201: what the server changed}`, `{422: what is wrong}`, `{400: why}`. */
export type Verdict = Readonly<Record<string, unknown>>;

const NAMESPACE = 'default';
export const pathOf = (kind: Kind, name = ''): string => `/apis/${apiVersionOf(kind)}/namespaces/${NAMESPACE}/${kind.plural}${name ? `/${name}` : ''}`;

type Fields = Record<string, unknown>;
const isObject = (value: unknown): value is Fields => value !== null && typeof value === 'object' && !Array.isArray(value);

/** Where two values differ: path -> what `b` has there (`<absent>` when it has nothing). */
const differences = (a: unknown, b: unknown, path = '', out: Fields = {}): Fields => {
  if (isObject(a) && isObject(b)) {
    for (const name of new Set([...Object.keys(a), ...Object.keys(b)])) differences(a[name], b[name], path ? `${path}.${name}` : name, out);
  } else if (Array.isArray(a) && Array.isArray(b) && a.length === b.length) a.forEach((item, index) => differences(item, b[index], `${path}[${index}]`, out));
  else if (JSON.stringify(a) !== JSON.stringify(b)) out[path] = b === undefined ? '<absent>' : b;
  return out;
};

const OWN = ['uid', 'resourceVersion', 'creationTimestamp', 'managedFields', 'namespace'];
const comparable = (object: unknown): Fields => {
  const { metadata, ...rest } = JSON.parse(JSON.stringify(object)) as Fields;
  return { ...rest, metadata: Object.fromEntries(Object.entries((metadata ?? {}) as object).filter(([name]) => !OWN.includes(name))) };
};

interface Cause {
  readonly reason: string;
  readonly field: string;
  readonly message: string;
}
/** Long runs of a letter are told by their length. */
const shortened = (text: string): string => text.replaceAll(/(.)\1{30,}/gu, (run, letter: string) => `${letter}×${[...run].length}`);

export const printCause = ({ reason, field, message }: Cause): string =>
  field === '<nil>' && message.includes('some validation rules were not checked') ? 'rules were not checked' : shortened(`${reason} ${field}: ${message}`);

/** Kubernetes joins causes in no fixed order. */
const sortedParts = (message: string): string =>
  message
    .replace(/^[^:]*: \[?/, '')
    .replace(/\]$/, '')
    .split(', ')
    .sort()
    .join(', ');

/** Reasons and messages of a refusal. The text of a 422 repeats its causes; it is left out when that is all it does. */
const refusal = ({ status, body }: Answer): Verdict => {
  const { reason, message, details } = body as { reason: string; message: string; details?: { causes?: Cause[] } };
  // That the replicas of a value of another type cannot be read is told in terms of Go; its type is told beside it.
  const causes = (details?.causes ?? []).filter(({ message: why }) => !why.includes(' accessor error: '));
  // Kubernetes repeats the whole body there.
  if (causes.length === 0) return { [status]: `${reason}: ${message.replace(/is missing in '.*/s, 'is missing')}` };
  const listed = causes.map(({ field, message: why }) => `${field}: ${why}`).join(', ');
  const plain = causes.length < details!.causes!.length || sortedParts(message) === sortedParts(`: ${causes.length > 1 ? `[${listed}]` : listed}`);
  return { [status]: causes.map(printCause).sort(), ...(reason !== 'Invalid' && { reason }), ...(!plain && { message }) };
};

const remove = async (client: TestClient, kind: Kind, object: { readonly metadata?: { readonly name?: string } }): Promise<void> => {
  const name = object.metadata?.name;
  if (!name) return;
  await client.call('PATCH', pathOf(kind, name), { metadata: { finalizers: null } }, { type: 'application/merge-patch+json' });
  await client.call('DELETE', pathOf(kind, name));
};

/** Sends an input and removes again what came of it. */
export const judge = async (client: TestClient, { kind, subresource, object }: Input): Promise<Verdict> => {
  const { status: _, ...made } = object as unknown as Fields;
  let answer: Answer;
  if (subresource === 'status') {
    const created = await client.call('POST', pathOf(kind), made);
    const { resourceVersion } = (created.body as { metadata: { resourceVersion: string } }).metadata;
    const body = { ...object, metadata: { ...object.metadata, resourceVersion } };
    answer = await client.call('PUT', `${pathOf(kind, object.metadata.name)}/status?fieldValidation=Strict`, body);
  } else answer = await client.call('POST', `${pathOf(kind)}?fieldValidation=Strict`, made);
  const verdict =
    answer.status < 300 ? { [answer.status]: differences(comparable(subresource === 'status' ? object : made), comparable(answer.body)) } : refusal(answer);
  await remove(client, kind, subresource === 'status' ? object : answer.body);
  return verdict;
};
