import { namespaces } from '#api';
import type { Target } from './target.ts';

/** One line of `egress log -o json`: what a record says, with absent facts left out. */
export interface Exchange {
  readonly metadata?: { readonly namespace?: string };
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
  /** What was dialled, `address:port`. */
  readonly destination: string;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly provider: string;
  readonly operation: string;
  readonly routeMatched: boolean;
  readonly stream: boolean;
  readonly maxTokens?: number;
  readonly responseModel: string;
  readonly responseId: string;
  readonly finishReasons: readonly string[];
  readonly cachedInputTokens?: number;
  readonly cacheCreationTokens?: number;
  readonly reasoningTokens?: number;
  readonly reservedTokens?: number;
  readonly budgetOverrun: boolean;
  readonly providerFetches: readonly string[];
  readonly credentialsReplaced: readonly string[];
  readonly credentialsEchoed: readonly string[];
  readonly namespace: string;
  readonly worker: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly costUsd?: number;
  readonly costEstimated: boolean;
  readonly mcpMethod: string;
  readonly tool: string;
  readonly mcpResource: string;
  readonly mcpSession: string;
  readonly mcpProtocol: string;
}

/** Names and order of the fields programs may rely on; new ones come at the end. */
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
  'destination',
  'requestBytes',
  'responseBytes',
  'provider',
  'operation',
  'routeMatched',
  'stream',
  'maxTokens',
  'responseModel',
  'responseId',
  'finishReasons',
  'cachedInputTokens',
  'cacheCreationTokens',
  'reasoningTokens',
  'reservedTokens',
  'budgetOverrun',
  'providerFetches',
  'credentialsReplaced',
  'credentialsEchoed',
  'namespace',
  'worker',
  'traceId',
  'spanId',
  'costUsd',
  'costEstimated',
  'mcpMethod',
  'tool',
  'mcpResource',
  'mcpSession',
  'mcpProtocol',
] as const satisfies readonly (keyof Exchange)[];

export interface ExchangeFilter {
  readonly namespace: string;
  readonly invocation?: string;
  readonly agent?: string;
  readonly since?: string;
  readonly limit?: string;
  readonly verdict?: Exchange['verdict'];
  /** Comma list. */
  readonly protocol?: string;
  readonly host?: string;
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

/** The fields of a record, for programs. Facts that are unknown (tokens of a denied request) are null. */
export const exchangeFields = (exchange: Exchange): object => Object.fromEntries(FIELDS.map((field) => [field, exchange[field] ?? null]));

export const exchangeLine = (exchange: Exchange): string => `${JSON.stringify(exchangeFields(exchange))}\n`;
