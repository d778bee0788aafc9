import { ask, BODY, CHAT, headers2, http1, OPENAI, over, ask2 } from '../steps.ts';
import { asked, denied, PROVIDER, table } from './build.ts';

const head = (lines: readonly string[], body: string, end = '\r\n'): string =>
  [`POST ${CHAT} HTTP/1.1`, `host: ${OPENAI}`, 'content-type: application/json', 'connection: close', 'x-case: {{token}}', ...lines, '', body].join(end);
const SECOND = `GET /v1/smuggled HTTP/1.1\r\nhost: ${OPENAI}\r\n\r\n`;
const chunked = (...chunks: readonly string[]): string => chunks.map((chunk) => `${Buffer.byteLength(chunk).toString(16)}\r\n${chunk}\r\n`).join('');
const L = BODY.length;

/** Forms of a request that two parsers may read differently. Refused, or forwarded in one reading: never a second request. */
export default table('smuggling', { canary: PROVIDER, twin: asked(), expect: denied([400, 501]) }, [
  {
    name: 'cl-te',
    what: 'Content-Length and Transfer-Encoding both.',
    steps: [over(head([`content-length: ${L}`, 'transfer-encoding: chunked'], `0\r\n\r\n${SECOND}`))],
    slice: true,
  },
  {
    name: 'te-cl',
    what: 'Transfer-Encoding first, then a short Content-Length.',
    steps: [over(head(['transfer-encoding: chunked', 'content-length: 4'], `${chunked(BODY)}0\r\n\r\n`))],
  },
  {
    name: 'te-te',
    what: 'Two Transfer-Encoding headers, one unknown.',
    steps: [over(head(['transfer-encoding: chunked', 'transfer-encoding: x-identity'], `0\r\n\r\n${SECOND}`))],
  },
  { name: 'te-obfuscated', what: 'Transfer-Encoding with a misspelt coding.', steps: [over(head(['transfer-encoding: xchunked'], `0\r\n\r\n${SECOND}`))] },
  { name: 'te-space', what: 'A space before the colon of Transfer-Encoding.', steps: [over(head(['transfer-encoding : chunked'], `0\r\n\r\n${SECOND}`))] },
  { name: 'te-tab', what: 'A vertical tab before the coding.', steps: [over(head(['transfer-encoding: \x0bchunked'], `0\r\n\r\n${SECOND}`))] },
  { name: 'te-list', what: 'A list of codings that ends in identity.', steps: [over(head(['transfer-encoding: chunked, identity'], `0\r\n\r\n${SECOND}`))] },
  { name: 'cl-twice', what: 'Two Content-Length headers that differ.', steps: [over(head([`content-length: ${L}`, 'content-length: 0'], BODY))] },
  { name: 'cl-list', what: 'A list of lengths in one Content-Length.', steps: [over(head([`content-length: ${L}, 0`], BODY))] },
  { name: 'cl-plus', what: 'Content-Length with a plus sign.', steps: [over(head([`content-length: +${L}`], BODY))] },
  { name: 'cl-hex', what: 'Content-Length in hexadecimal.', steps: [over(head([`content-length: 0x${L.toString(16)}`], BODY))] },
  { name: 'cl-negative', what: 'A negative Content-Length.', steps: [over(head(['content-length: -1'], BODY))] },
  { name: 'nul', what: 'A NUL in a header value.', steps: [over(head([`content-length: ${L}`, 'x-a: b\0c'], BODY))] },
  {
    name: 'bare-cr',
    what: 'A bare CR in a header value: at most one request, the CR gone.',
    steps: [over(head([`content-length: ${L}`, 'x-a: b\rx-smuggled: c'], BODY))],
    expect: { outcome: ['http-status', 'closed'], statuses: [200, 400] },
    canary: { name: 'provider', atMost: 1, without: ['"x-smuggled"', '\\\\r'] },
  },
  {
    name: 'underscore',
    what: 'A header with an underscore, which some servers read as a hyphen.',
    steps: [over(head([`content-length: ${L}`, 'content_length: 0'], BODY))],
  },
  { name: 'bad-name', what: 'A header name with a space in it.', steps: [over(head([`content-length: ${L}`, 'x smuggled: 1'], BODY))] },
  {
    name: 'h2-preface',
    what: 'The preface of HTTP/2 where HTTP/1.1 was negotiated.',
    steps: [over('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')],
    expect: { outcome: ['http-status', 'closed'], statuses: [400, 505] },
  },
  {
    name: 'http09',
    what: 'A request of HTTP/0.9.',
    steps: [over(`GET ${CHAT}\r\n\r\n`)],
    expect: { outcome: ['http-status', 'closed'], statuses: [400, 426] },
  },
  {
    name: 'http10',
    what: 'A request of HTTP/1.0 with a chunked body.',
    steps: [over(head(['transfer-encoding: chunked'], `0\r\n\r\n${SECOND}`).replace('HTTP/1.1', 'HTTP/1.0'))],
    expect: denied([400, 426]),
  },
  {
    name: 'chunk-size',
    what: 'A chunk size that is too large for 64 bits.',
    steps: [over(head(['transfer-encoding: chunked'], `fffffffffffffffff\r\n${BODY}`))],
    expect: { outcome: ['http-status', 'closed'], statuses: [400] },
  },
  {
    name: 'chunk-extension',
    what: 'A chunk extension with a bare LF, which ends the line for some.',
    steps: [over(head(['transfer-encoding: chunked'], `${L.toString(16)};a\nb\r\n${BODY}\r\n0\r\n\r\n`))],
    expect: { outcome: ['http-status', 'closed'], statuses: [200, 400] },
    canary: { name: 'provider', atMost: 1, without: ['smuggled'] },
  },
  {
    name: 'bare-lf',
    what: 'Lines that end in LF alone: at most one request, written anew.',
    steps: [over(head([`content-length: ${L}`], BODY, '\n'))],
    expect: { outcome: ['http-status', 'closed'], statuses: [200, 400] },
    canary: { name: 'provider', atMost: 1, without: ['smuggled'] },
  },
  {
    name: 'obs-fold',
    what: 'A folded header line: at most one request, without the fold.',
    steps: [over(head([`content-length: ${L}`, 'x-a: b', ' x-smuggled: 1'], BODY))],
    expect: { outcome: ['http-status', 'closed'], statuses: [200, 400] },
    canary: { name: 'provider', atMost: 1, without: ['"x-smuggled"'] },
  },
  {
    name: 'body-tail',
    what: 'A second request in what follows the declared body.',
    steps: [
      {
        tls: {
          host: OPENAI,
          port: 443,
          servername: OPENAI,
          alpn: ['http/1.1'],
          script: [{ text: `${http1({ close: false })}GET /v1/smuggled HTTP/1.1\r\nhost: ${OPENAI}\r\nconnection: close\r\n\r\n` }],
        },
      },
    ],
    expect: denied(403),
    canary: { name: 'provider', atMost: 1, without: ['smuggled'] },
  },
  {
    name: 'connection-credential',
    what: 'Connection lists the credential, so that a hop would drop what was injected.',
    steps: [ask({ headers: ['content-type: application/json', 'connection: authorization, x-api-key'], close: false, host: OPENAI })],
    expect: { outcome: ['http-status', 'timeout'], statuses: [200], says: 'chat.completion' },
    canary: { name: 'provider', with: ['"authorization":"Bearer sk-proj-'] },
  },
  {
    name: 'h2-crlf-value',
    what: 'CR LF in the value of an HTTP/2 header.',
    steps: [ask2({ headers: [['x-a', 'b\r\nx-smuggled: 1']] })],
    expect: { outcome: ['stream-reset', 'closed', 'http-status'], statuses: [400] },
  },
  {
    name: 'h2-lf-name',
    what: 'LF in the name of an HTTP/2 header.',
    steps: [ask2({ headers: [['x-a\nx-smuggled', '1']] })],
    expect: { outcome: ['stream-reset', 'closed', 'http-status'], statuses: [400] },
  },
  {
    name: 'h2-nul',
    what: 'A NUL in the value of an HTTP/2 header.',
    steps: [ask2({ headers: [['x-a', 'b\0c']] })],
    expect: { outcome: ['stream-reset', 'closed', 'http-status'], statuses: [400] },
  },
  {
    name: 'h2-te',
    what: 'Transfer-Encoding over HTTP/2.',
    steps: [ask2({ headers: [['transfer-encoding', 'chunked']] })],
    expect: { outcome: ['stream-reset', 'closed', 'http-status'], statuses: [400] },
  },
  {
    name: 'h2-connection',
    what: 'A hop-by-hop header over HTTP/2.',
    steps: [ask2({ headers: [['connection', 'authorization']] })],
    expect: { outcome: ['stream-reset', 'closed', 'http-status'], statuses: [400] },
  },
  {
    name: 'h2-length',
    what: 'A Content-Length over HTTP/2 that is shorter than the body.',
    steps: [ask2({ headers: [['content-length', '3']] })],
    expect: { outcome: ['stream-reset', 'closed', 'http-status'], statuses: [400] },
  },
  {
    name: 'h2-two-paths',
    what: ':path twice.',
    steps: [
      {
        h2: {
          host: OPENAI,
          port: 443,
          servername: OPENAI,
          frames: [
            { headers: [...headers2().slice(0, 4), [':path', '/v1/smuggled'], ['content-type', 'application/json']], stream: 1, end: false },
            { data: BODY, stream: 1 },
          ],
        },
      },
    ],
    expect: { outcome: ['stream-reset', 'closed', 'http-status'], statuses: [400] },
  },
  {
    name: 'h2-late-pseudo',
    what: 'A pseudo header after a plain one.',
    steps: [
      {
        h2: {
          host: OPENAI,
          port: 443,
          servername: OPENAI,
          frames: [
            { headers: [...headers2(), [':authority', 'evil.test']], stream: 1, end: false },
            { data: BODY, stream: 1 },
          ],
        },
      },
    ],
    expect: { outcome: ['stream-reset', 'closed', 'http-status'], statuses: [400] },
  },
  {
    name: 'h2-path-space',
    what: 'A space in :path, which would make a request line of three words four.',
    steps: [ask2({ pseudo: { ':path': `${CHAT} HTTP/1.1\r\nx-smuggled: 1` } })],
    expect: { outcome: ['stream-reset', 'closed', 'http-status'], statuses: [400, 403] },
  },
]);
