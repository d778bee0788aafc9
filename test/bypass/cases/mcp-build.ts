import type { Case, Expectation } from '../case.ts';
import { ask, http1, type Http1, type Script, type Step } from '../steps.ts';
import { denied, OK, type Defaults, type Row } from './build.ts';

export const HOST = 'mcp.test';
export const JSON_TYPE = 'content-type: application/json';
export const ACCEPT = 'accept: application/json, text/event-stream';

export const message = (method: unknown, params: unknown = {}, more: object = {}): object => ({ jsonrpc: '2.0', id: 1, method, params, ...more });
export const call = (tool: unknown, more: object = {}): object => message('tools/call', { name: tool, arguments: {} }, more);
export const read = (uri: unknown): object => message('resources/read', { uri });
export const ALLOWED_CALL = JSON.stringify(call('search'));
export const DENIED_CALL = JSON.stringify(call('delete_all'));
/** Another member right after the opening brace of an object that has this text in front of it. */
export const beside = (before: string, member: string): string => ALLOWED_CALL.replace(before, `${before}${member},`);

export const post = (body: unknown, more: Http1 = {}): Step =>
  ask({ path: '/mcp', host: HOST, body: typeof body === 'string' ? body : JSON.stringify(body), headers: [JSON_TYPE, ACCEPT], ...more }, { host: HOST });
export const get = (more: Http1 = {}): Step => post('', { method: 'GET', headers: ['accept: text/event-stream'], ...more });
/** A body in pieces. */
const pieces = (length: number, script: Script, headers: readonly string[] = [JSON_TYPE]): Step => ({
  tls: {
    host: HOST,
    port: 443,
    servername: HOST,
    alpn: ['http/1.1'],
    script: [{ text: http1({ path: '/mcp', host: HOST, body: '', headers: [...headers, ACCEPT, `content-length: ${length}`] }) }, ...script],
    until: 'answer',
  },
});
/** A body as bytes. */
export const bytes = (body: Buffer, headers?: readonly string[]): Step => pieces(body.length, [{ hex: body.toString('hex') }], headers);
/** A body with much of something in it. */
export const much = (before: string, fill: string, times: number, after: string): Step =>
  pieces(before.length + fill.length * times + after.length, [{ text: before }, { fill, count: fill.length * times }, { text: after }]);
export const chunked = (body: string, size: number): string =>
  `${body.replace(new RegExp(`[^]{1,${size}}`, 'g'), (part) => `${part.length.toString(16)}\r\n${part}\r\n`)}0\r\n\r\n`;

/** The error of JSON-RPC that a client shows as that of its call. */
const rpc = (code: number): Expectation => ({ outcome: 'http-status', statuses: [200], says: `"code":${code}` });
export const REFUSED = rpc(-32_001);
export const METHOD = rpc(-32_601);
/** Said as HTTP or as JSON-RPC. */
export const EITHER = denied([200, 400, 403, 404, 405, 413, 415]);
export const HTTP = denied([400, 403, 404, 405, 413, 415]);

/** The allowed call, and that it came to the server. */
export const twin = (step: Step = post(ALLOWED_CALL)): Case['twin'] => ({ attempt: { given: 'mcp', steps: [step] }, expect: OK, sees: '{{token}}' });
export const row = (name: string, what: string, step: Step, more: Partial<Row> = {}): Row => ({ name, what, steps: [step], ...more });

/** What the cases share. */
export const MCP: Defaults = { given: 'mcp', canary: { name: 'other' }, expect: EITHER, twin: twin() };
