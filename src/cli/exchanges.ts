import { namespaces } from '#api';
import type { Io } from './output.ts';
import { paint, printable, table } from './output.ts';
import type { Target } from './target.ts';

/** One line of `egress log -o json`: what a record says, with absent facts left out. */
export interface Exchange {
  readonly time: string;
  readonly invocation: string;
  readonly agent: string;
  readonly gateway: string;
  readonly route: string;
  readonly protocol: string;
  readonly method: string;
  readonly host: string;
  readonly path: string;
  readonly status: number;
  readonly verdict: 'Allowed' | 'Denied';
  readonly reason: string;
  readonly decisionId: string;
  readonly revision: string;
  readonly model: string;
  readonly inputTokens?: number;
  readonly outputTokens?: number;
  readonly durationMs: number;
}

/** Names and order of the fields programs may rely on. */
const FIELDS = [
  'time',
  'invocation',
  'agent',
  'gateway',
  'route',
  'protocol',
  'method',
  'host',
  'path',
  'status',
  'verdict',
  'reason',
  'decisionId',
  'revision',
  'model',
  'inputTokens',
  'outputTokens',
  'durationMs',
] as const satisfies readonly (keyof Exchange)[];

export interface ExchangeFilter {
  readonly namespace: string;
  readonly invocation?: string;
  readonly agent?: string;
  readonly since?: string;
  readonly limit?: string;
}

/** Records of what left sandboxes, oldest first, read from the record store through the API. */
export const fetchExchanges = async ({ client }: Target, { namespace, ...filter }: ExchangeFilter): Promise<Exchange[]> => {
  const query = new URLSearchParams(Object.entries(filter).filter((entry): entry is [string, string] => entry[1] !== undefined));
  const list = await client.json<{ items: Exchange[] }>(
    'GET',
    `/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/${encodeURIComponent(namespace)}/exchanges?${query.toString()}`,
  );
  return list.items;
};

/** Those of every namespace there is, oldest first; a limit is that of each. */
export const fetchEverywhere = async (target: Target, filter: Omit<ExchangeFilter, 'namespace'>): Promise<Exchange[]> => {
  const { items } = await target.client.list(namespaces);
  const lists = await Promise.all(items.map(({ metadata }) => fetchExchanges(target, { ...filter, namespace: metadata.name })));
  return lists.flat().toSorted((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
};

/** Facts that are unknown (tokens of a denied request) are null. */
export const exchangeLine = (exchange: Exchange): string => `${JSON.stringify(Object.fromEntries(FIELDS.map((field) => [field, exchange[field] ?? null])))}\n`;

const tokens = (count: number | undefined): string => (count === undefined ? '-' : String(count));

export const exchangeTable = (io: Io, exchanges: readonly Exchange[]): string =>
  table(
    ['TIME', 'VERDICT', 'REASON', 'METHOD', 'HOST', 'PATH', 'STATUS', 'MODEL', 'IN', 'OUT', 'MS'],
    exchanges.map((e) => [
      e.time.slice(11, 23),
      paint(io, e.verdict === 'Allowed' ? 'green' : 'red', e.verdict),
      printable(e.reason || '-'),
      printable(e.method || e.protocol),
      printable(e.host || '-'),
      printable(e.path || '-'),
      e.status === 0 ? '-' : String(e.status),
      printable(e.model || '-'),
      tokens(e.inputTokens),
      tokens(e.outputTokens),
      String(Math.round(e.durationMs)),
    ]),
  );
