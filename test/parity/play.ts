import type { Answer, CallOptions, TestClient, WatchEvent } from '../unit/apiserver/harness.ts';

/** Several requests in a row, and what a server answers to each, in a form that does not depend on when and where it was asked. */

export type Answers = readonly Answer[];
type Late<T> = T | ((answers: Answers) => T);

export interface Step {
  readonly method: string;
  readonly path: Late<string>;
  readonly body?: Late<unknown>;
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Scenario {
  readonly name: string;
  readonly steps: readonly Step[];
}

export const AGENTS = '/apis/clrk.apoxy.dev/v1alpha1/namespaces/default/taskagents';
export const APPLY = 'application/apply-patch+yaml';
export const MERGE = 'application/merge-patch+json';
export const JSON_PATCH = 'application/json-patch+json';

export const get = (path: Late<string>, headers?: Step['headers']): Step => ({ method: 'GET', path, ...(headers && { headers }) });
export const post = (path: Late<string>, body: Late<unknown>, more: Partial<Step> = {}): Step => ({ method: 'POST', path, body, ...more });
export const put = (path: Late<string>, body: Late<unknown>, more: Partial<Step> = {}): Step => ({ method: 'PUT', path, body, ...more });
export const patch = (path: Late<string>, type: string, body: Late<unknown>): Step => ({ method: 'PATCH', path, body, type });
export const remove = (path: Late<string>, body?: Late<unknown>): Step => ({ method: 'DELETE', path, ...(body !== undefined && { body }) });
/** Everything a watch says before it ends by itself. */
export const watch = (path: Late<string>, headers?: Step['headers']): Step => ({ method: 'WATCH', path, ...(headers && { headers }) });

/** What an answer had at a place: `at(answers, 0).metadata.uid`. */
// oxlint-disable-next-line typescript/no-explicit-any
export const at = (answers: Answers, index: number): any => answers.at(index)!.body;

const resolve = <T>(late: Late<T> | undefined, answers: Answers): T | undefined =>
  typeof late === 'function' ? (late as (answers: Answers) => T)(answers) : late;

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
const TIME = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/g;

const byText = (a: unknown, b: unknown): number => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1);

/** Of these, the first and the last: what is between is the kind's own affair. */
const ENDS: readonly string[] = ['columnDefinitions', 'cells'];

/** Gives every version of a run a name of its own, in order of appearance. */
class Names {
  readonly #versions = new Map<string, string>();

  #version(text: string): string {
    if (!/^\d+$/.test(text)) return text;
    const known = this.#versions.get(text) ?? `v${this.#versions.size + 1}`;
    this.#versions.set(text, known);
    return known;
  }

  #text(text: string): string {
    const plain = text
      .replaceAll(UUID, '<uid>')
      .replaceAll(TIME, '<time>')
      .replaceAll(/\bmade-[a-z0-9]{5}\b/g, 'made-<random>');
    return (
      plain
        .replace(
          /(resource ?[vV]ersion: )(\d+)(.*)/,
          (_, before: string, _version: string, after: string) => `${before}<version>${after.replaceAll(/\d+/g, '<version>')}`,
        )
        // It repeats the whole object.
        .replaceAll(/Invalid value: "\{(?:[^"\\]|\\.)*\}": /g, 'Invalid value: "<object>": ')
        .replace(/StorageError: .* AdditionalErrorMsg: /, '')
        .replace(/(ResourceVersion in record \()\d+/, '$1<version>')
    );
  }

  /** `value` with names in place of what is another one each time. */
  of(value: unknown, field = ''): unknown {
    if (typeof value === 'string') {
      if (field === 'resourceVersion') return this.#version(value);
      if (field === 'continue' && value !== '') return '<token>';
      return this.#text(value);
    }
    if (Array.isArray(value) && ENDS.includes(field))
      return [value.at(0), value.at(-1)].map((item: unknown) =>
        this.of(typeof item === 'string' ? item.replace(/^\d+s$/, '<age>') : item, field === 'cells' ? '' : field),
      );
    if (Array.isArray(value)) {
      const items = value.map((item) => this.of(item));
      // Neither has an order, and the same cause is told twice at times.
      if (field === 'causes') return [...new Map(items.map((item) => [JSON.stringify(item), item])).values()].toSorted(byText);
      return field === 'managedFields' ? items.map((entry) => ({ ...(entry as object), time: undefined })).toSorted(byText) : items;
    }
    if (value === null || typeof value !== 'object') return value;
    return Object.fromEntries(
      Object.entries(value)
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        // A list that ends says so in two ways.
        .filter(([name, child]) => !(name === 'continue' && child === ''))
        // Columns are described in other words.
        .filter(([name]) => !(field === 'columnDefinitions' && name === 'description'))
        .map(([name, child]) => [name, this.of(child, name)]),
    );
  }
}

/** How far other kinds have got is in the version of a bookmark. */
const withoutVersion = ({ type, object }: WatchEvent): WatchEvent => ({
  type,
  object: { ...object, metadata: { ...object.metadata, resourceVersion: undefined } },
});

/** The events of a watch until it ends, or why there is none. */
const follow = async (client: TestClient, path: string, headers: Step['headers']): Promise<Answer> => {
  const events: WatchEvent[] = [];
  try {
    for await (const event of client.watch(path, undefined, headers)) events.push(event.type === 'BOOKMARK' ? withoutVersion(event) : event);
  } catch (error) {
    const [, status, body] = /^(\d+): (.*)$/s.exec(error instanceof Error ? error.message : '') ?? [];
    if (status === undefined) throw error;
    return { status: Number(status), headers: {}, body: JSON.parse(body!) };
  }
  return { status: 200, headers: {}, body: events };
};

/** An answer without what is another one each time. */
export interface Said {
  readonly status: number;
  readonly warnings?: readonly string[];
  readonly body: unknown;
}

/** Plays a scenario: the answers, one for each step. */
export const play = async (client: TestClient, { steps }: Scenario): Promise<readonly Said[]> => {
  const answers: Answer[] = [];
  const names = new Names();
  const said: Said[] = [];
  for (const step of steps) {
    const path = resolve(step.path, answers)!;
    const headers = { 'user-agent': 'parity/1', ...step.headers };
    const options: CallOptions = { headers, ...(step.type !== undefined && { type: step.type }) };
    const answer = step.method === 'WATCH' ? await follow(client, path, headers) : await client.call(step.method, path, resolve(step.body, answers), options);
    answers.push(answer);
    const warnings = [answer.headers['warning'] ?? []].flat().flatMap((text) => text.split(/, (?=299 )/));
    said.push({ status: answer.status, ...(warnings.length > 0 && { warnings }), body: JSON.parse(JSON.stringify(names.of(answer.body))) as unknown });
  }
  return said;
};
