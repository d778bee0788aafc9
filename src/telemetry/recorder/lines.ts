import { sha256Hex } from '#lib';
import type {
  AccessLine,
  BindingLine,
  ConnectionVerdict,
  CredentialFindings,
  EgressLine,
  EngineMetadata,
  McpMetadata,
  ModelPrice,
  PriceTier,
  ReportedUsage,
  StdioLine,
} from '#model';

/**
 * Parsers of record lines. A line is untrusted: what is not of the expected type is absent, and a line without the facts
 * every record needs is undefined (the caller counts it).
 */

type Json = Readonly<Record<string, unknown>>;

const object = (value: unknown): Json | undefined => (typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined);
const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const number = (value: unknown): number | undefined => (typeof value === 'number' && Number.isFinite(value) ? value : undefined);
const parse = (line: string): Json | undefined => {
  try {
    return object(JSON.parse(line));
  } catch {
    return undefined;
  }
};
/** The entries that are there, so that absent stays absent. */
const present = <T extends object>(values: T): Partial<T> =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== '')) as Partial<T>;

const CHAINS: readonly unknown[] = ['http', 'tcp', 'tls', 'udp', 'refused'] satisfies AccessLine['chain'][];
const isChain = (value: unknown): value is AccessLine['chain'] => CHAINS.includes(value);

const verdictOf = (value: unknown): ConnectionVerdict | undefined => {
  const json = object(value);
  const verdict = json?.['verdict'];
  if (!json || (verdict !== 'Allowed' && verdict !== 'Denied')) return undefined;
  return {
    verdict,
    reason: text(json['reason']),
    route: text(json['route']),
    rule: Number(text(json['rule']) || -1),
    revision: text(json['revision']),
    host: text(json['host']),
  };
};

/** The same for the same line, in the form of the ids that Envoy gives. */
const fingerprint = (line: string): string => sha256Hex(line).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, '$1-$2-$3-$4-$5');

export const parseAccess = (line: string): AccessLine | undefined => {
  const json = parse(line);
  if (!json) return undefined;
  const { chain } = json;
  const [time, source] = [text(json['time']), text(json['source'])];
  // A request that could not be read far enough to have an id is on record by what its line says.
  const id = text(json['id']) || fingerprint(line);
  if (Number.isNaN(Date.parse(time)) || !isChain(chain)) return undefined;
  const usage = object(json['usage']);
  const credential = object(json['credential']);
  const engine = engineOf(json['engine']);
  const verdict = verdictOf(json['verdict']);
  const strings = [
    'destination',
    'sni',
    'method',
    'host',
    'path',
    'protocol',
    'flags',
    'details',
    'upstream',
    'upstreamFailure',
    'route',
    'reason',
    'revision',
    'hello',
  ];
  const numbers = ['status', 'durationMs', 'requestBytes', 'responseBytes'];
  return {
    time,
    id,
    chain,
    source,
    gateway: text(json['gateway']),
    ...present(Object.fromEntries(strings.map((name) => [name, text(json[name])]))),
    ...present(Object.fromEntries(numbers.map((name) => [name, number(json[name])]))),
    ...(verdict ? { verdict } : {}),
    ...(engine ? { engine } : {}),
    ...(usage ? { usage: usageOf(usage) } : {}),
    ...(credential ? { credential: findingsOf(credential) } : {}),
  };
};

const COUNTS = ['input', 'output', 'total', 'cachedInput', 'cacheCreation', 'reasoning'] as const;
const TEXTS = ['responseModel', 'finishReason', 'responseId'] as const;

/** A count; a server may report anything. */
const count = (value: unknown): number | undefined => {
  const known = number(value);
  return known !== undefined && known >= 0 && known <= Number.MAX_SAFE_INTEGER ? known : undefined;
};

const usageOf = (json: Json): ReportedUsage =>
  present({
    ...Object.fromEntries(COUNTS.map((name) => [name, count(json[name])])),
    ...Object.fromEntries(TEXTS.map((name) => [name, text(json[name])])),
  });

const findingsOf = (json: Json): CredentialFindings =>
  present({
    replaced: text(json['replaced']),
    echoed: text(json['echoed']),
    refused: text(json['refused']),
  });

const texts = (value: unknown): readonly string[] | undefined => (Array.isArray(value) && value.length > 0 ? value.map(text) : undefined);

const tierOf = (value: unknown): PriceTier | undefined => {
  const json = object(value) ?? {};
  const [above, input, cachedInput, cacheCreation] = ['above', 'input', 'cachedInput', 'cacheCreation'].map((name) => number(json[name]));
  if (above === undefined || input === undefined || cachedInput === undefined || cacheCreation === undefined) return undefined;
  return { above, input, cachedInput, cacheCreation, ...present({ output: number(json['output']), reasoning: number(json['reasoning']) }) };
};

/** A price of which anything is odd is none. */
const priceOf = (value: unknown): ModelPrice | undefined => {
  const tiers = object(value)?.['tiers'];
  const read = Array.isArray(tiers) ? tiers.map(tierOf) : [];
  return read.length > 0 && read.every((tier) => tier !== undefined) ? { tiers: read } : undefined;
};

const mcpOf = (value: unknown): McpMetadata | undefined => {
  const json = object(value);
  return json && present(Object.fromEntries(['method', 'tool', 'resource', 'session', 'protocol'].map((name) => [name, text(json[name]) || undefined])));
};

const engineOf = (value: unknown): EngineMetadata | undefined => {
  const json = object(value);
  const verdict = json?.['verdict'];
  if (!json || (verdict !== 'Allowed' && verdict !== 'Denied')) return undefined;
  return {
    verdict,
    reason: text(json['reason']),
    route: text(json['route']),
    rule: number(json['rule']) ?? -1,
    revision: text(json['revision']),
    stream: json['stream'] === true,
    ...present({
      provider: text(json['provider']),
      model: text(json['model']),
      operation: text(json['operation']),
      spanId: text(json['spanId']),
      maxTokens: number(json['maxTokens']),
      fetches: texts(json['fetches']),
      reservedInput: number(json['reservedInput']),
      reservedOutput: number(json['reservedOutput']),
      hiddenReasoning: json['hiddenReasoning'] === true || undefined,
      price: priceOf(json['price']),
      mcp: mcpOf(json['mcp']),
    }),
  };
};

export const parseBinding = (line: string): BindingLine | undefined => {
  const json = parse(line);
  const event = json?.['event'];
  const time = number(json?.['time']);
  const address = text(json?.['address']);
  if (!json || (event !== 'park' && event !== 'bind' && event !== 'release') || time === undefined || address === '') return undefined;
  const [namespace, agent, invocation] = [text(json['namespace']), text(json['agent']), text(json['invocation'])];
  return { event, time, address, namespace, agent, invocation, traceId: text(json['traceId']), spanId: text(json['spanId']) };
};

const EVENTS: readonly unknown[] = ['dns', 'refused-packet', 'admit', 'refused', 'gateway-died'] satisfies EgressLine['event'][];

export const parseEgress = (line: string): EgressLine | undefined => {
  const json = parse(line);
  const event = json?.['event'];
  const time = number(json?.['time']);
  if (!json || !EVENTS.includes(event) || time === undefined) return undefined;
  if (event !== 'gateway-died' && text(json['id']) === '') return undefined;
  const engine = engineOf(json['engine']);
  return {
    event: event as EgressLine['event'],
    time,
    id: text(json['id']),
    gateway: text(json['gateway']),
    source: text(json['source']),
    host: text(json['host']),
    verdict: json['verdict'] === 'Allowed' ? 'Allowed' : 'Denied',
    reason: text(json['reason']),
    ...present(Object.fromEntries(['method', 'path', 'protocol', 'destination'].map((name) => [name, text(json[name])]))),
    ...(engine ? { engine } : {}),
  };
};

const RFC3339_NANO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/;
const STREAMS: readonly unknown[] = ['', 'stdout', 'stderr'] satisfies StdioLine['iostream'][];
const LINE_EVENTS: readonly unknown[] = ['', 'started', 'ended', 'dropped'] satisfies StdioLine['event'][];

export const parseStdio = (line: string): StdioLine | undefined => {
  const json = parse(line);
  const [id, time, iostream, event, body] = ['id', 'time', 'iostream', 'event', 'body'].map((name) => json?.[name]);
  if (typeof id !== 'string' || !/-[1-9]\d{0,14}$/.test(id) || typeof time !== 'string' || !RFC3339_NANO.test(time)) return undefined;
  if (!STREAMS.includes(iostream) || !LINE_EVENTS.includes(event) || typeof body !== 'string') return undefined;
  const [namespace, agent, revision, invocation, traceId, spanId] = ['namespace', 'agent', 'revision', 'invocation', 'traceId', 'spanId'].map((name) =>
    text(json![name]),
  ) as [string, string, string, string, string, string];
  return {
    id,
    time,
    namespace,
    agent,
    revision,
    invocation,
    traceId,
    spanId,
    iostream: iostream as StdioLine['iostream'],
    event: event as StdioLine['event'],
    body,
  };
};

/**
 * The part of a malformed line that may be a whole one: a writer killed inside a line leaves its beginning without an end,
 * and what is written next follows it directly. Undefined when there is no such part.
 */
export const afterTear = (line: string): string | undefined => {
  for (let at = line.indexOf('{"', 1), tries = 0; at > 0 && tries < 32; at = line.indexOf('{"', at + 1), tries++) {
    const rest = line.slice(at);
    if (parse(rest)) return rest;
  }
  return undefined;
};
