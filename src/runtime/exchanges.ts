import { AGE, RUNTIME_GROUP, VERSION, type Column, type ExtraResource, type KubeObject } from '#api';
import type { ExchangeQuery, ExchangeRecord, StorePort } from '#model';
import { answering, failure } from './failure.ts';

const DEFAULT_LIMIT = 1_000;
const MAX_LIMIT = 10_000;

/** A record with the metadata every object of the API has; its own fields are beside it. */
export type Exchange = KubeObject & ExchangeRecord;

const toObject = (record: ExchangeRecord): Exchange => ({
  apiVersion: `${RUNTIME_GROUP}/${VERSION}`,
  kind: 'Exchange',
  metadata: { name: record.decisionId, namespace: record.namespace, creationTimestamp: `${record.time.slice(0, 19)}Z` },
  ...record,
});

const COLUMNS: readonly Column[] = [
  { name: 'Agent', type: 'string', path: '.agent' },
  { name: 'Verdict', type: 'string', path: '.verdict' },
  { name: 'Reason', type: 'string', path: '.reason' },
  { name: 'Method', type: 'string', path: '.method' },
  { name: 'Protocol', type: 'string', path: '.protocol', priority: 1 },
  { name: 'Host', type: 'string', path: '.host' },
  { name: 'Destination', type: 'string', path: '.destination', priority: 1 },
  { name: 'Path', type: 'string', path: '.path', priority: 1 },
  { name: 'Status', type: 'integer', path: '.status' },
  { name: 'Model', type: 'string', path: '.model', priority: 1 },
  AGE,
];

/** The query of a request, or what is wrong with it. */
const parseQuery = (namespace: string, query: URLSearchParams): ExchangeQuery | string => {
  if (!namespace) return 'exchanges are listed one namespace at a time';
  const [invocation, agent, since, limit, verdict, protocol, host] = ['invocation', 'agent', 'since', 'limit', 'verdict', 'protocol', 'host'].map((name) =>
    query.get(name),
  );
  const sinceMs = since ? Date.parse(since) : undefined;
  if (Number.isNaN(sinceMs)) return `since: ${JSON.stringify(since)} is not an RFC 3339 time`;
  if (limit && !/^\d{1,9}$/.test(limit)) return `limit: ${JSON.stringify(limit)} is not a number`;
  if (verdict && verdict !== 'Allowed' && verdict !== 'Denied') return `verdict: ${JSON.stringify(verdict)} is neither Allowed nor Denied`;
  return {
    namespace,
    ...(invocation && { invocation }),
    ...(agent && { agent }),
    ...(sinceMs !== undefined && { since: sinceMs }),
    ...(verdict && { verdict: verdict as ExchangeRecord['verdict'] }),
    protocols: (protocol ?? '').split(',').filter(Boolean),
    ...(host && { host }),
    limit: Math.min(Number(limit) || DEFAULT_LIMIT, MAX_LIMIT),
  };
};

/**
 * Records of what left sandboxes, or wanted to: the newest 1,000 of a namespace, oldest first.
 * `?invocation=&agent=&since=&verdict=&protocol=&host=&limit=`; `since` is RFC 3339 and exclusive, `protocol` a comma list, `host` a
 * pattern (`*` any text, `?` one character), `limit` at most 10,000. Behind by one batch of the recorder, at most a second.
 */
export const exchangesResource = (store: StorePort): ExtraResource => ({
  name: 'exchanges',
  singular: 'exchange',
  kind: 'Exchange',
  namespaced: true,
  shortNames: [],
  verbs: ['list'],
  columns: COLUMNS,
  handle: answering('store', async ({ namespace, query }) => {
    const parsed = parseQuery(namespace, query);
    if (typeof parsed === 'string') return failure(400, 'BadRequest', parsed);
    return { list: (await store.exchanges(parsed)).map(toObject) };
  }),
});
