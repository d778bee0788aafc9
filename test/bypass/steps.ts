/** What the probe agent can be told to do (test/fixtures/probe), and the attempts that many cases are made of. */

export type Script = readonly (
  | { readonly text: string }
  | { readonly hex: string }
  | { readonly fill: string; readonly count: number }
  | { readonly pause: number }
  | { readonly await: string }
)[];

interface Conversation {
  readonly host: string;
  /** Text when it is known only later (`{{name}}`). */
  readonly port: number | string;
  readonly localAddress?: string;
  readonly script: Script;
  readonly until?: 'close' | 'data' | 'answer';
  readonly forMs?: number;
}
interface TlsConversation extends Conversation {
  /** Empty = a hello without a name. */
  readonly servername?: string;
  readonly alpn?: readonly string[];
  readonly min?: string;
  readonly max?: string;
}
export type Frame =
  | { readonly headers: readonly (readonly [string, string])[]; readonly stream: number; readonly end?: boolean }
  | { readonly data: string; readonly stream: number; readonly end?: boolean }
  | { readonly raw: string }
  | { readonly await: number };

export type Step =
  | { readonly tcp: Conversation }
  | { readonly tls: TlsConversation }
  | {
      readonly h2: {
        readonly host: string;
        readonly port: number;
        readonly servername?: string;
        readonly cleartext?: boolean;
        readonly frames: readonly Frame[];
        readonly expect?: readonly number[];
        readonly forMs?: number;
      };
    }
  | {
      readonly hello: {
        readonly host: string;
        readonly port: number;
        readonly servername?: string;
        readonly second?: string;
        readonly ech?: 'grease' | 'real';
        readonly alpn?: readonly string[];
        readonly split?: number;
        readonly forMs?: number;
      };
    }
  | { readonly udp: { readonly host: string; readonly port: number | string; readonly text?: string; readonly hex?: string; readonly forMs?: number } }
  | {
      readonly dns: {
        readonly name: string;
        readonly type?: string | number;
        readonly server?: string;
        readonly port?: number;
        readonly transport?: 'udp' | 'tcp';
        readonly class?: number;
        readonly flags?: number;
        readonly questions?: number;
        readonly raw?: string;
        readonly forMs?: number;
      };
    }
  | {
      readonly fetch: {
        readonly url: string;
        readonly method?: string;
        readonly headers?: Readonly<Record<string, string>>;
        readonly body?: string;
        readonly redirect?: string;
      };
    }
  | { readonly lookup: string }
  | { readonly unix: string }
  | { readonly read: string }
  | { readonly files: readonly string[] }
  | { readonly env: true }
  | { readonly addresses: true }
  | { readonly sleep: number }
  | { readonly stderr: string }
  | { readonly listen: { readonly port: number; readonly forMs: number } }
  | { readonly parallel: readonly Step[] }
  | { readonly repeat: { readonly count: number; readonly step: Step } }
  | { readonly crowd: { readonly count: number; readonly step: Step } }
  | { readonly series: readonly Step[] }
  | { readonly hammer: { readonly forMs: number; readonly everyMs?: number; readonly whole?: boolean; readonly steps: readonly Step[] } }
  | { readonly timed: Step };

export const OPENAI = 'api.openai.com';
export const CHAT = '/v1/chat/completions';
export const good = { model: 'gpt-4.1-mini', max_completion_tokens: 10, messages: [{ role: 'user', content: 'Hello.' }] };
export const BODY = JSON.stringify(good);

/** An HTTP/1.1 request as bytes; headers are lines, given as they are. `host` comes first unless it is empty. */
export const http1 = ({
  method = 'POST',
  path = CHAT,
  host = OPENAI,
  headers = ['content-type: application/json'],
  body = BODY,
  length = true,
  version = 'HTTP/1.1',
  close = true,
}: Http1 = {}): string =>
  [
    `${method} ${path} ${version}`,
    ...(host === '' ? [] : [`host: ${host}`]),
    ...headers,
    'x-case: {{token}}',
    ...(length && body !== '' ? [`content-length: ${Buffer.byteLength(body)}`] : []),
    ...(close ? ['connection: close'] : []),
    '',
    body,
  ].join('\r\n');

export interface Http1 {
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  readonly headers?: readonly string[];
  readonly body?: string;
  /** Whether a content-length is added. */
  readonly length?: boolean;
  readonly version?: string;
  readonly close?: boolean;
}

/** Where a TLS connection goes and whom its hello names. */
export interface Dial {
  readonly host?: string;
  readonly port?: number;
  readonly servername?: string;
  readonly forMs?: number;
}

/** Given bytes over TLS, to the provider unless said otherwise. */
export const over = (text: string, { host = OPENAI, port = 443, servername = host, forMs }: Dial = {}): Step => ({
  tls: { host, port, servername, alpn: ['http/1.1'], script: [{ text }], until: 'answer', ...(forMs ? { forMs } : {}) },
});
/** A request to the provider as HTTP/1.1 over TLS. */
export const ask = (request: Http1 = {}, dial: Dial = {}): Step => over(http1(request), dial);

type Header = readonly [string, string];

/** A request to the provider over HTTP/2, its headers frame by hand. `pseudo` replaces pseudo headers; undefined leaves one out. */
export const ask2 = (
  {
    pseudo = {},
    headers = [],
    body = BODY,
  }: { readonly pseudo?: Readonly<Record<string, string | undefined>>; readonly headers?: readonly Header[]; readonly body?: string } = {},
  { host = OPENAI, port = 443, servername = host }: Dial = {},
): Step => ({
  h2: {
    host,
    port,
    servername,
    frames: [{ headers: headers2(pseudo, headers), stream: 1, end: body === '' }, ...(body === '' ? [] : [{ data: body, stream: 1 }])],
  },
});
export const headers2 = (pseudo: Readonly<Record<string, string | undefined>> = {}, headers: readonly Header[] = []): readonly Header[] => [
  ...Object.entries({ ':method': 'POST', ':scheme': 'https', ':authority': OPENAI, ':path': CHAT, ...pseudo }).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  ),
  ['content-type', 'application/json'],
  ['x-case', '{{token}}'],
  ...headers,
];

/** A cleartext request. */
export const plain = (request: Http1, { host = OPENAI, port = 80 }: Dial = {}): Step => ({
  tcp: { host, port, script: [{ text: http1({ host, method: 'GET', path: '/', body: '', headers: [], ...request }) }], until: 'answer' },
});

/** Bytes over TCP, until something or the end comes back. */
export const tcp = (host: string, port: number | string, text = '{{token}}\r\n'): Step => ({
  tcp: { host, port, script: text === '' ? [] : [{ text }], until: 'data' },
});
