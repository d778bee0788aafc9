import { afterEach } from 'vitest';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger, systemClock } from '#lib';
import { openLedger, type Ledger } from '#ledger';
import type { Binding, EgressLine, EngineMetadata, LedgerPort, PolicySet, RequestFacts } from '#model';
import { ProcessingMode_BodySendMode } from '#wire/xds';
import { createEngine } from '../../../src/egress/engine/index.ts';
import { budget, compile, route } from '../policy/objects.ts';

export const BINDING: Binding = {
  address: '100.64.0.1',
  block: '100.64.0.0/20',
  namespace: 'demo',
  agent: 'reader',
  invocation: '11111111-1111-4111-8111-111111111111',
  traceId: 'a'.repeat(32),
  spanId: 'b'.repeat(16),
  gateways: ['demo/egress'],
};

export const CHAT = { model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'hi' }] };

/** A set whose one rule allows chat within `cap` tokens a day; no budget when absent. */
export const policyWith = (cap?: number, rule: object = {}): PolicySet =>
  compile({ aiRoutes: [route({ rules: [{ matches: [{ provider: 'openai' }], ...(cap !== undefined && { filters: [budget(cap)] }), ...rule }] as never })] })
    .policySet;

/** What tests look at in a denial or a forwarded body. */
export interface JsonAnswer {
  readonly error?: Readonly<Record<string, string | object>>;
  readonly stream_options?: object;
  readonly max_tokens?: number;
  readonly max_completion_tokens?: number;
}

/** The parts of a ProcessingResponse that the engine sends. */
interface Mutation {
  readonly setHeaders: readonly { readonly header: { readonly key: string; readonly rawValue: Uint8Array } }[];
  readonly removeHeaders?: readonly string[];
}
type BodyMutation =
  | { readonly case: 'body'; readonly value: Uint8Array }
  | { readonly case: 'streamedResponse'; readonly value: { readonly body: Uint8Array; readonly endOfStream: boolean } };
type Response =
  | { readonly case: 'requestHeaders'; readonly value: { readonly response: { readonly headerMutation?: Mutation } } }
  | {
      readonly case: 'requestBody';
      readonly value: { readonly response: { readonly headerMutation?: Mutation; readonly bodyMutation?: { readonly mutation: BodyMutation } } };
    }
  | { readonly case: 'requestTrailers'; readonly value: object }
  | {
      readonly case: 'immediateResponse';
      readonly value: { readonly status: { readonly code: number }; readonly headers: Mutation; readonly body: Uint8Array };
    };
interface Message {
  readonly response: Response;
  readonly dynamicMetadata?: { readonly 'clrk.engine': EngineMetadata };
}

/** How Envoy sends a request. */
export interface Sent {
  readonly endOfStream?: boolean;
  readonly signal?: AbortSignal;
  /** Without waiting for an answer, and the body in so many pieces. */
  readonly atOnce?: number;
  /** The body is followed by trailers. */
  readonly trailers?: boolean;
}

export interface Answer {
  /** Status of a denial; 200 when the request goes on. */
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** JSON of the denial, or the forwarded body. */
  readonly json: JsonAnswer;
  readonly text: string;
  readonly removed: readonly string[];
  readonly engine: EngineMetadata;
  /** What was answered, in order. */
  readonly cases: readonly (string | undefined)[];
  /** Messages that Envoy had sent when the first answer came. */
  readonly unasked: number;
  /** Of a body that was sent at once: nothing comes after it. */
  readonly last?: boolean;
}

export interface Harness extends AsyncDisposable {
  readonly lines: EgressLine[];
  /** What the engine said it let through: gateway, source, facts. */
  readonly admitted: (readonly [string, string, RequestFacts])[];
  readonly ledger: Ledger;
  policy: PolicySet | undefined;
  /** Sends one request as Envoy does and returns what the engine made of it. */
  send(body: unknown, headers?: Readonly<Record<string, string>>, sent?: Sent): Promise<Answer>;
}

/** What addresses of the gateway stand for. */
const NAMES: Readonly<Record<string, string>> = {
  '198.18.0.1': 'api.openai.com',
  '198.18.0.3': 'evil.example',
  '198.18.0.4': 'a.llm.test',
  '198.18.0.5': 'a.openai.azure.com',
  '198.18.0.6': 'bedrock-runtime.us-east-1.amazonaws.com',
  '198.18.0.7': 'generativelanguage.googleapis.com',
  '198.18.0.8': 'api.anthropic.com',
  '198.18.0.9': 'mcp.test',
};

let requests = 0;

export const createHarness = (
  options: { policy?: PolicySet; ledger?: LedgerPort; record?: (line: EgressLine) => Promise<void>; holdMs?: number; answerMs?: number } = {},
): Harness => {
  const dir = mkdtempSync(join(tmpdir(), 'clrk-engine-'));
  const ledger = openLedger(join(dir, 'ledger.db'), { log: silentLogger, alive: () => true });
  const lines: EgressLine[] = [];
  const admitted: Harness['admitted'] = [];
  const engine = createEngine({
    policy: (name) => (name === 'demo/egress' ? harness.policy : undefined),
    binding: (address) => (address === BINDING.address ? BINDING : undefined),
    nameOf: (gateway, address) => (gateway === 'demo/egress' ? NAMES[address] : undefined),
    admitted: (...served) => void admitted.push(served),
    ledger: options.ledger ?? ledger,
    record: options.record ?? (async (line) => void lines.push(line)),
    clock: systemClock,
    log: silentLogger,
    ...(options.holdMs !== undefined && { holdMs: options.holdMs }),
    ...(options.answerMs !== undefined && { answerMs: options.answerMs }),
  });
  const harness: Harness = {
    lines,
    admitted,
    ledger,
    policy: options.policy ?? policyWith(),
    async send(body, headers = {}, { endOfStream = false, signal = new AbortController().signal, atOnce = 0, trailers = false } = {}) {
      const bytes = body instanceof Uint8Array ? body : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
      const all = {
        ...(!endOfStream && { 'content-length': String(bytes.byteLength) }),
        ':method': 'POST',
        ':path': '/v1/chat/completions',
        ':authority': 'api.openai.com',
        'content-type': 'application/json',
        'x-clrk-id': `id-${++requests}`,
        'x-clrk-source': BINDING.address,
        'x-clrk-destination': '198.18.0.1:443',
        ...headers,
      };
      const wire = Object.entries(all).map(([key, value]) => ({ key, value: '', rawValue: Buffer.from(value) }));
      const pieces = Math.max(1, atOnce);
      const size = Math.ceil(bytes.byteLength / pieces);
      const protocolConfig = { requestBodyMode: atOnce > 0 ? ProcessingMode_BodySendMode.FULL_DUPLEX_STREAMED : ProcessingMode_BodySendMode.BUFFERED };
      let sent = 0;
      const messages = async function* () {
        sent++;
        yield { request: { case: 'requestHeaders', value: { headers: { headers: wire }, endOfStream } }, protocolConfig };
        for (let n = 0; n < pieces && !endOfStream; n++) {
          sent++;
          const value = { body: bytes.subarray(n * size, (n + 1) * size), endOfStream: n === pieces - 1 && !trailers };
          yield { request: { case: 'requestBody', value } };
        }
        if (trailers) yield { request: { case: 'requestTrailers', value: {} } };
      };
      const context = { signal, metadata: (key: string) => (key === 'x-clrk-gateway' ? 'demo/egress' : undefined) };
      const responses: Message[] = [];
      let unasked = 0;
      for await (const response of engine.process(messages() as never, context)) {
        unasked ||= sent;
        responses.push(response as unknown as Message);
      }
      return { ...answerOf(responses), unasked };
    },
    async [Symbol.asyncDispose]() {
      await ledger[Symbol.asyncDispose]();
      rmSync(dir, { recursive: true });
    },
  };
  return harness;
};

const NONE = new Uint8Array();

type Verdict = readonly [status: number, mutation: Mutation, body: Uint8Array, last?: boolean];

/** Either one message says all, or that about the headers has the mutation and that about the body has the body. */
const verdictOf = (responses: readonly Response[]): Verdict => {
  let verdict: Verdict | undefined;
  for (const response of responses) {
    if (response.case === 'immediateResponse') return [response.value.status.code, response.value.headers, response.value.body];
    if (response.case === 'requestTrailers') continue;
    const mutation: Mutation | undefined = response.value.response.headerMutation ?? verdict?.[1];
    if (!mutation) continue;
    const body = response.case === 'requestBody' ? response.value.response.bodyMutation?.mutation : undefined;
    verdict = body?.case === 'streamedResponse' ? [200, mutation, body.value.body, body.value.endOfStream] : [200, mutation, body?.value ?? NONE];
  }
  if (!verdict) throw new Error('no verdict');
  return verdict;
};

/** Forwarded forms are no JSON. */
const jsonOf = (text: string): JsonAnswer => {
  try {
    return JSON.parse(text) as JsonAnswer;
  } catch {
    return {};
  }
};

const answerOf = (messages: readonly Message[]): Omit<Answer, 'unasked'> => {
  const [status, mutation, body, last] = verdictOf(messages.map(({ response }) => response));
  const text = Buffer.from(body).toString();
  return {
    status,
    headers: Object.fromEntries(mutation.setHeaders.map(({ header }) => [header.key, Buffer.from(header.rawValue).toString()])),
    json: jsonOf(text),
    text,
    removed: mutation.removeHeaders ?? [],
    engine: messages.findLast(({ dynamicMetadata }) => dynamicMetadata)!.dynamicMetadata!['clrk.engine'],
    cases: messages.map(({ response }) => response.case),
    ...(last !== undefined && { last }),
  };
};

/** The same for a file of tests: what is made is disposed of after each test. */
export const harnesses = (): typeof createHarness => {
  const open: Harness[] = [];
  afterEach(async () => {
    for (const made of open.splice(0)) await made[Symbol.asyncDispose]();
  });
  return (options) => {
    const made = createHarness(options);
    open.push(made);
    return made;
  };
};
