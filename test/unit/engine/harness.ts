import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger, systemClock } from '#lib';
import { openLedger, type Ledger } from '#ledger';
import type { Binding, EgressLine, EngineMetadata, LedgerPort, PolicySet, RequestFacts } from '#model';
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
type Response =
  | { readonly case: 'requestHeaders'; readonly value: { readonly response: { readonly headerMutation?: Mutation } } }
  | {
      readonly case: 'requestBody';
      readonly value: {
        readonly response: { readonly headerMutation: Mutation; readonly bodyMutation?: { readonly mutation: { readonly value: Uint8Array } } };
      };
    }
  | {
      readonly case: 'immediateResponse';
      readonly value: { readonly status: { readonly code: number }; readonly headers: Mutation; readonly body: Uint8Array };
    };
interface Message {
  readonly response: Response;
  readonly dynamicMetadata: { readonly 'clrk.engine': EngineMetadata };
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
}

export interface Harness extends AsyncDisposable {
  readonly lines: EgressLine[];
  /** What the engine said it let through: gateway, source, facts. */
  readonly admitted: (readonly [string, string, RequestFacts])[];
  readonly ledger: Ledger;
  policy: PolicySet | undefined;
  /** Sends one request as Envoy does and returns what the engine made of it. */
  send(body: unknown, headers?: Readonly<Record<string, string>>, options?: { endOfStream?: boolean; signal?: AbortSignal }): Promise<Answer>;
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
  options: { policy?: PolicySet; ledger?: LedgerPort; record?: (line: EgressLine) => Promise<void>; holdMs?: number } = {},
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
  });
  const harness: Harness = {
    lines,
    admitted,
    ledger,
    policy: options.policy ?? policyWith(),
    async send(body, headers = {}, { endOfStream = false, signal = new AbortController().signal } = {}) {
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
      const messages = async function* () {
        yield { request: { case: 'requestHeaders', value: { headers: { headers: wire }, endOfStream } } };
        if (!endOfStream) yield { request: { case: 'requestBody', value: { body: bytes, endOfStream: true } } };
      };
      const context = { signal, metadata: (key: string) => (key === 'x-clrk-gateway' ? 'demo/egress' : undefined) };
      const responses: Message[] = [];
      for await (const response of engine.process(messages() as never, context)) responses.push(response as unknown as Message);
      return answerOf(responses);
    },
    async [Symbol.asyncDispose]() {
      await ledger[Symbol.asyncDispose]();
      rmSync(dir, { recursive: true });
    },
  };
  return harness;
};

const NONE = new Uint8Array();

const verdictOf = (response: Response): readonly [status: number, mutation: Mutation, body: Uint8Array] => {
  if (response.case === 'immediateResponse') return [response.value.status.code, response.value.headers, response.value.body];
  // Of a request without body, the headers are the verdict.
  const { headerMutation, ...rest } = response.value.response;
  if (!headerMutation) throw new Error('no verdict');
  return [200, headerMutation, ('bodyMutation' in rest ? rest.bodyMutation?.mutation.value : undefined) ?? NONE];
};

/** Forwarded forms are no JSON. */
const jsonOf = (text: string): JsonAnswer => {
  try {
    return JSON.parse(text) as JsonAnswer;
  } catch {
    return {};
  }
};

const answerOf = (messages: readonly Message[]): Answer => {
  const { response, dynamicMetadata } = messages.at(-1)!;
  const [status, mutation, body] = verdictOf(response);
  const text = Buffer.from(body).toString();
  return {
    status,
    headers: Object.fromEntries(mutation.setHeaders.map(({ header }) => [header.key, Buffer.from(header.rawValue).toString()])),
    json: jsonOf(text),
    text,
    removed: mutation.removeHeaders ?? [],
    engine: dynamicMetadata['clrk.engine'],
    cases: messages.map((message) => message.response.case),
  };
};
