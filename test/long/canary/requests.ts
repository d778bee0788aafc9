import type { Echo, Form } from '../../fixtures/echo/main.ts';
import { HOSTS, PATHS } from './credentials.ts';

/** What an agent does with credentials it does not have: every way to have an upstream say them, and every way to fail. */

export interface Attempt {
  readonly host: keyof typeof HOSTS;
  /** How the upstream shall say what it was sent. */
  readonly echo?: Echo;
  /** Where the path is not the one that the route admits. */
  readonly path?: string;
  readonly body?: string;
  /** Over HTTP/2, which has trailers, and shows informational answers. */
  readonly http2?: true;
  /** Status of the answer; 502 = it could not be searched, and was withheld. */
  readonly status: number;
}

const FORMS = ['raw', 'base64', 'base64url', 'in base64', 'percent', 'escaped', 'unicode'] as const satisfies readonly Form[];
const echoes = (host: Attempt['host'], ...all: readonly Echo[]): Attempt[] => all.map((echo) => ({ host, echo, status: echo.status ?? 200 }));

/** In headers of any answer, and in bodies of errors. */
const usual = (host: Attempt['host'], of: string): Attempt[] => [
  ...echoes(
    host,
    ...FORMS.flatMap((form): Echo[] => [
      { of, form, in: 'header' },
      { of, form, in: 'body', status: 401, bare: true },
      { of, form, in: 'body', status: 500 },
    ]),
    { of, in: 'cookies' },
    { of, in: 'trailer' },
    { of, in: 'header', status: 302 },
    { of, in: 'body', status: 400, pieces: 1 },
    { of, in: 'body', status: 429, pieces: 7, kib: 1 },
    { of, in: 'body', status: 503, pieces: 4_096, kib: 40 },
  ),
  ...echoes(host, { of, in: 'trailer' }, { of, in: 'hints' }, { of, in: 'header' }).map((attempt) => ({ ...attempt, http2: true as const })),
  { host, echo: { of, in: 'body', status: 400, gzip: true }, status: 502 },
  // As much as requests may have is held, where an engine judges them.
  { host, echo: { of, in: 'body', status: 400, kib: 1_024 }, status: host === 'wide' ? 502 : 400 },
  { host, status: 200 },
];

const toolCall = (name: string): string => `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"${name}"}}`;

export const ATTEMPTS: readonly Attempt[] = [
  ...usual('header', 'authorization'),
  ...usual('whole', 'authorization'),
  ...usual('query', 'query:key'),
  ...usual('wide', 'x-api-key'),
  ...usual('aws', 'x-amz-security-token'),
  ...usual('gcp', 'authorization'),
  ...usual('mcp', 'authorization'),
  // Whole bodies.
  ...echoes(
    'whole',
    ...FORMS.map((form): Echo => ({ of: 'authorization', form, in: 'body' })),
    { of: 'authorization', in: 'body', pieces: 1 },
    { of: 'authorization', in: 'body', form: 'unicode', pieces: 5, kib: 16 },
    { of: 'authorization', in: 'body', form: 'percent', pieces: 65_536, kib: 256 },
    // More than a connection holds.
    { of: 'authorization', in: 'body', kib: 600 },
  ),
  { host: 'whole', echo: { of: 'authorization', in: 'body', gzip: true }, status: 502 },
  // Refused, or nobody there.
  { host: 'header', path: '/other/path', status: 403 },
  { host: 'aws', path: '/model/anthropic.claude-opus-4-1-20250805-v1%3A0/converse', status: 403 },
  { host: 'aws', body: '{"messages":', status: 400 },
  { host: 'gcp', path: `${PATHS.gcp}?fields=x`, status: 400 },
  { host: 'mcp', body: toolCall('delete_all'), status: 200 },
  { host: 'mcp', body: toolCall('search","name":"delete_all'), status: 400 },
  { host: 'dead', status: 503 },
];

/** Says back what is no secret, in every form: what a search has to find. */
export const TWINS: readonly Attempt[] = [
  ...echoes('whole', ...FORMS.map((form): Echo => ({ of: 'x-twin', form, in: 'body' }))),
  { host: 'header', echo: { of: 'x-twin', in: 'trailer' }, http2: true, status: 200 },
  ...echoes('header', { of: 'x-twin', in: 'body', gzip: true }, { of: 'x-twin', in: 'header' }, { of: 'x-twin', in: 'body', status: 401, pieces: 1 }),
];

const pathOf = ({ host, path }: Attempt): string => path ?? (host === 'aws' || host === 'gcp' ? PATHS[host] : '/x');
const BODIES: Readonly<Record<string, object>> = {
  aws: { messages: [{ role: 'user', content: [{ text: 'hi' }] }] },
  gcp: { contents: [{ role: 'user', parts: [{ text: 'hi' }] }] },
  mcp: { jsonrpc: '2.0', id: 1, method: 'ping' },
};

/** As a step of a probe. */
export const stepOf = (attempt: Attempt, twin = ''): object => {
  const { host, echo, body = JSON.stringify(BODIES[host] ?? {}), http2 } = attempt;
  const request = {
    url: `https://${HOSTS[host]}${pathOf(attempt)}`,
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: 'Bearer clrk-injected-by-proxy',
      ...(echo && { 'x-echo': JSON.stringify(echo) }),
      ...(twin && { 'x-twin': twin }),
    },
    body,
  };
  return http2 ? { http2: request } : { fetch: { ...request, redirect: 'manual' } };
};
