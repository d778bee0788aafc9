/** Lines of Envoy's access log, one LLM request each, as they are written for every provider, and the attributes they make. */

export interface GoldenLine {
  readonly name: string;
  readonly line: Readonly<Record<string, unknown>>;
  readonly attributes: Readonly<Record<string, unknown>>;
}

const SPAN = '00f067aa0ba902b7';

const line = (host: string, path: string, engine: object, usage: object, credential?: object): GoldenLine['line'] => ({
  time: '2026-11-26T02:02:12.969Z',
  id: '0b0f2c5e-8a51-4d0c-9f0e-3b6a7d2c4e10',
  chain: 'http',
  source: '100.64.0.5',
  destination: '198.18.0.5:443',
  gateway: 'default/egress',
  sni: host,
  host,
  method: 'POST',
  path,
  protocol: 'HTTP/1.1',
  status: 200,
  details: 'via_upstream',
  durationMs: 85,
  requestBytes: 512,
  responseBytes: 1024,
  flags: '-',
  upstream: '10.0.0.1:443',
  route: 'AIProviderRoute/default/llm',
  revision: 'abcdef012345',
  engine: { verdict: 'Allowed', reason: 'Allowed', route: 'AIProviderRoute/default/llm', rule: 0, revision: 'abcdef012345', spanId: SPAN, ...engine },
  usage,
  ...(credential && { credential }),
});

const NOTHING_FOUND = { 'clrk.provider_fetch': [], 'clrk.credential.replaced': [], 'clrk.credential.echoed': [] };

export const golden: readonly GoldenLine[] = [
  {
    name: 'openai: chat, streamed, with a budget, an image by URL and a key of its own',
    line: line(
      'api.openai.com',
      '/v1/chat/completions',
      {
        provider: 'openai',
        model: 'gpt-4o-mini',
        operation: 'chat',
        stream: true,
        maxTokens: 256,
        fetches: ['images.example.com'],
        reservedInput: 1200,
        reservedOutput: 256,
      },
      {
        input: 1000,
        output: 100,
        total: 1100,
        cachedInput: 640,
        reasoning: 32,
        responseModel: 'gpt-4o-mini-2024-07-18',
        responseId: 'chatcmpl-BFZ0z7kq2mN',
        finishReason: 'stop',
      },
      { replaced: 'header authorization, header cookie', echoed: 'header, body' },
    ),
    attributes: {
      'gen_ai.system': 'openai',
      'gen_ai.provider.name': 'openai',
      'gen_ai.operation.name': 'chat',
      'gen_ai.request.model': 'gpt-4o-mini',
      'gen_ai.request.stream': true,
      'gen_ai.request.max_tokens': 256,
      'gen_ai.response.model': 'gpt-4o-mini-2024-07-18',
      'gen_ai.response.id': 'chatcmpl-BFZ0z7kq2mN',
      'gen_ai.response.finish_reasons': ['stop'],
      'gen_ai.tokens.input': 1000,
      'gen_ai.usage.input_tokens': 1000,
      'gen_ai.tokens.output': 100,
      'gen_ai.usage.output_tokens': 100,
      'gen_ai.usage.cache_read.input_tokens': 640,
      'gen_ai.usage.reasoning.output_tokens': 32,
      'clrk.aiproviderroute.matched': true,
      'clrk.budget.reserved_tokens': 1456,
      'clrk.budget.overrun': false,
      'clrk.provider_fetch': ['images.example.com'],
      'clrk.credential.replaced': ['header authorization', 'header cookie'],
      'clrk.credential.echoed': ['header', 'body'],
    },
  },
  {
    name: 'of a provider that this version does not know: as it was reported',
    line: line(
      'llm.example.com',
      '/v1/messages',
      { provider: 'gone', model: 'm', operation: 'chat', stream: false },
      { input: 10, output: 20, cachedInput: 3, cacheCreation: 4, finishReason: 'length,stop' },
    ),
    attributes: {
      'gen_ai.system': 'gone',
      'gen_ai.provider.name': 'gone',
      'gen_ai.operation.name': 'chat',
      'gen_ai.request.model': 'm',
      'gen_ai.request.stream': false,
      'gen_ai.response.model': '',
      'gen_ai.response.id': '',
      'gen_ai.response.finish_reasons': ['length', 'stop'],
      'gen_ai.tokens.input': 10,
      'gen_ai.usage.input_tokens': 10,
      'gen_ai.tokens.output': 20,
      'gen_ai.usage.output_tokens': 20,
      'gen_ai.usage.cache_read.input_tokens': 3,
      'gen_ai.usage.cache_creation.input_tokens': 4,
      'clrk.aiproviderroute.matched': true,
      'clrk.budget.overrun': false,
      ...NOTHING_FOUND,
    },
  },
];
