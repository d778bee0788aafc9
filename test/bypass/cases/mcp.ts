import { gzipSync } from 'node:zlib';
import { ask, over, type Http1 } from '../steps.ts';
import { denied, OK, outside, siteRequest, table } from './build.ts';
import { OTHER } from '../../fixtures/canary/places.ts';

const HOST = 'mcp.test';
const call = (tool: string, id = 1): object => ({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: tool, arguments: {} } });
const post = (body: unknown, more: Http1 = {}) =>
  ask(
    {
      path: '/mcp',
      host: HOST,
      body: typeof body === 'string' ? body : JSON.stringify(body),
      headers: ['content-type: application/json', 'accept: application/json, text/event-stream'],
      ...more,
    },
    { host: HOST },
  );
const zipped = gzipSync(JSON.stringify(call('delete_all'))).toString('latin1');

/** MCP: judged as the server would read it, or refused. */
export default table(
  'mcp',
  { given: 'mcp', canary: { name: 'other' }, expect: denied([400, 403, 404, 415]), twin: outside([siteRequest(HOST, HOST, OTHER)], OK) },
  [
    { name: 'denied-tool', what: 'A tool that is not allowed.', steps: [post(call('delete_all'))], slice: true },
    { name: 'case', what: 'The allowed tool in capitals.', steps: [post(call('SEARCH'))] },
    { name: 'prefix', what: 'A tool whose name begins like the allowed one.', steps: [post(call('search_and_delete'))] },
    { name: 'space', what: 'The allowed tool with a space after it.', steps: [post(call('search '))] },
    { name: 'nul', what: 'The allowed tool, a NUL and more.', steps: [post(call('search\0delete'))] },
    {
      name: 'duplicate-key',
      what: 'The name twice.',
      steps: [post(JSON.stringify(call('search')).replace('"name":"search"', '"name":"search","name":"delete_all"'))],
    },
    {
      name: 'escaped-key',
      what: 'The name twice, once with an escape.',
      steps: [post(JSON.stringify(call('search')).replace('"name":"search"', '"name":"search","n\\u0061me":"delete_all"'))],
    },
    { name: 'batch', what: 'A batch with an allowed and a denied call.', steps: [post([call('search'), call('delete_all', 2)])] },
    { name: 'two-documents', what: 'Two documents in one body.', steps: [post(JSON.stringify(call('search')) + JSON.stringify(call('delete_all')))] },
    { name: 'content-type', what: 'JSON that says it is text.', steps: [post(call('delete_all'), { headers: ['content-type: text/plain'] })] },
    {
      name: 'compressed',
      what: 'A compressed body.',
      steps: [
        over(
          `POST /mcp HTTP/1.1\r\nhost: ${HOST}\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: ${zipped.length}\r\n\r\n${zipped}`,
          { host: HOST },
        ),
      ],
    },
    {
      name: 'resume',
      what: 'A stream that is resumed with the id of somebody else.',
      steps: [post('', { method: 'GET', headers: ['accept: text/event-stream', 'last-event-id: 1', 'mcp-session-id: somebody-elses'] })],
    },
    {
      name: 'session',
      what: 'A session id of somebody else.',
      steps: [post(call('delete_all'), { headers: ['content-type: application/json', 'mcp-session-id: somebody-elses'] })],
    },
    {
      name: 'delete-session',
      what: "The end of somebody else's session.",
      steps: [post('', { method: 'DELETE', headers: ['mcp-session-id: somebody-elses'] })],
    },
    {
      name: 'method',
      what: 'Another method of the protocol.',
      steps: [post({ jsonrpc: '2.0', id: 1, method: 'resources/read', params: { uri: 'file:///etc/passwd' } })],
    },
    {
      name: 'websocket',
      what: 'The server over a WebSocket.',
      steps: [over(`GET /mcp HTTP/1.1\r\nhost: ${HOST}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n`, { host: HOST })],
    },
  ],
);
