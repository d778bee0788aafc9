import { deflateSync, gzipSync } from 'node:zlib';
import { ask, headers2, http1, over, type Step } from '../steps.ts';
import { OK, table } from './build.ts';
import { ACCEPT, ALLOWED_CALL, bytes, chunked, DENIED_CALL, get, HOST, HTTP, JSON_TYPE, MCP, much, post, row, REFUSED, twin } from './mcp-build.ts';

const withArguments = (text: string): string => ALLOWED_CALL.replace('"arguments":{}', `"arguments":{"a":${text}}`);
/** A list of very many in the arguments. */
const many = (item: string, times: number): Step => {
  const [before = '', after = ''] = withArguments('[*0]').split('*');
  return much(before, item, times, after);
};

/** What messages come in: bodies, headers, methods and paths of HTTP. */
const judged = table('mcp', MCP, [
  // Other writings of a body.
  row('content-type', 'JSON that says it is text.', post(ALLOWED_CALL, { headers: ['content-type: text/plain'] }), { expect: HTTP }),
  row('no-content-type', 'JSON that says nothing of what it is.', post(ALLOWED_CALL, { headers: [ACCEPT] }), { expect: HTTP }),
  row('two-content-types', 'Two types.', post(ALLOWED_CALL, { headers: [JSON_TYPE, 'content-type: text/plain'] }), { expect: HTTP }),
  row('jsonx', 'A type that begins like that of JSON.', post(ALLOWED_CALL, { headers: ['content-type: application/jsonx'] }), { expect: HTTP }),
  row('form', 'The call as a form.', post('method=tools/call&name=delete_all', { headers: ['content-type: application/x-www-form-urlencoded'] }), {
    expect: HTTP,
  }),
  row('utf-16-said', 'A type that says UTF-16.', post(ALLOWED_CALL, { headers: ['content-type: application/json; charset=utf-16'] }), { expect: HTTP }),
  row('utf-7-said', 'A type that says UTF-7.', post(ALLOWED_CALL, { headers: ['content-type: application/json; charset=utf-7'] }), { expect: HTTP }),
  row('utf-16', 'A denied call in UTF-16.', bytes(Buffer.from(DENIED_CALL, 'utf16le'))),
  row('mark', 'A denied call after a mark of UTF-8.', bytes(Buffer.from(`\ufeff${DENIED_CALL}`))),
  row(
    'not-utf-8',
    'A call with bytes that are not UTF-8.',
    bytes(Buffer.concat([Buffer.from(ALLOWED_CALL.slice(0, -4)), Buffer.from([0xff, 0xfe]), Buffer.from(ALLOWED_CALL.slice(-4))])),
  ),
  row('compressed', 'A compressed body.', bytes(gzipSync(DENIED_CALL), [JSON_TYPE, 'content-encoding: gzip']), { expect: HTTP }),
  row('compressed-allowed', 'An allowed call that is compressed.', bytes(gzipSync(ALLOWED_CALL), [JSON_TYPE, 'content-encoding: gzip']), { expect: HTTP }),
  row('deflated', 'A body compressed another way.', bytes(deflateSync(DENIED_CALL), [JSON_TYPE, 'content-encoding: deflate']), { expect: HTTP }),
  row('encoding-said', 'A body that is said to be compressed, and is not.', post(ALLOWED_CALL, { headers: [JSON_TYPE, 'content-encoding: br'] }), {
    expect: HTTP,
  }),
  row('comment', 'A comment, which some decoders leave out.', post(ALLOWED_CALL.replace('{', '{/*"*/'))),
  row('trailing-comma', 'A comma too many.', post(ALLOWED_CALL.replace(/\}$/, ',}'))),
  row('truncated', 'A call that is cut.', post(DENIED_CALL.slice(0, -2))),
  row('empty', 'No body.', post('', { headers: [JSON_TYPE, 'content-length: 0'] })),

  // Much of something.
  row('padded', 'A denied tool behind 3 MB.', much('{', ' ', 3_000_000, DENIED_CALL.slice(1)), { expect: REFUSED }),
  row('large', 'A denied tool behind 34 MB.', much('{', ' ', 34_000_000, DENIED_CALL.slice(1)), {
    expect: { outcome: ['http-status', 'closed'], statuses: [413] },
  }),
  row('deep', 'Lists in lists.', post(withArguments(`${'['.repeat(5_000)}${']'.repeat(5_000)}`))),
  row('many', 'Hundreds of thousands of objects.', many('{},', 200_000)),
  row(
    'chunks',
    'A denied tool in chunks of three bytes.',
    over(http1({ path: '/mcp', host: HOST, body: chunked(DENIED_CALL, 3), length: false, headers: [JSON_TYPE, ACCEPT, 'transfer-encoding: chunked'] }), {
      host: HOST,
    }),
    { expect: REFUSED },
  ),
  row(
    'frames',
    'A denied tool over HTTP/2, in two frames.',
    {
      h2: {
        host: HOST,
        port: 443,
        servername: HOST,
        frames: [
          { headers: headers2({ ':authority': HOST, ':path': '/mcp' }, [['accept', 'application/json, text/event-stream']]), stream: 1, end: false },
          { data: DENIED_CALL.slice(0, 60), stream: 1, end: false },
          { data: DENIED_CALL.slice(60), stream: 1 },
        ],
      },
    },
    { expect: { outcome: 'http-status', statuses: [200], code: 'ToolNotAllowed' } },
  ),

  // Headers that say what the body says, by which a server may go.
  row(
    'header-method',
    'A header that names another method than the body.',
    post(ALLOWED_CALL, { headers: [JSON_TYPE, ACCEPT, 'mcp-method: resources/read', 'mcp-name: search'] }),
  ),
  row(
    'header-name',
    'A header that names another tool than the body.',
    post(ALLOWED_CALL, { headers: [JSON_TYPE, ACCEPT, 'mcp-method: tools/call', 'mcp-name: delete_all'] }),
    { slice: true },
  ),
  row(
    'header-name-encoded',
    'The same, encoded.',
    post(ALLOWED_CALL, { headers: [JSON_TYPE, ACCEPT, 'mcp-method: tools/call', `mcp-name: =?base64?${btoa('delete_all')}?=`] }),
  ),
  row(
    'header-name-twice',
    'The header twice.',
    post(ALLOWED_CALL, { headers: [JSON_TYPE, ACCEPT, 'mcp-method: tools/call', 'mcp-name: search', 'mcp-name: delete_all'] }),
  ),
  row(
    'header-on-get',
    'A call in the headers of a request without a body.',
    get({ headers: ['accept: text/event-stream', 'mcp-method: tools/call', 'mcp-name: delete_all'] }),
  ),
  row(
    'session-denied',
    'A denied tool in the session of somebody else.',
    post(DENIED_CALL, { headers: [JSON_TYPE, ACCEPT, 'mcp-session-id: somebody-elses'] }),
    { expect: REFUSED },
  ),
  row('resume-denied', 'A denied tool with the id of an event.', post(DENIED_CALL, { headers: [JSON_TYPE, ACCEPT, 'last-event-id: 1'] }), { expect: REFUSED }),

  // Other methods of HTTP, other paths.
  row('get-with-body', 'A call in the body of a GET.', get({ body: DENIED_CALL, headers: [JSON_TYPE, 'accept: text/event-stream'] }), { expect: HTTP }),
  row('delete-with-body', 'A call in the body of a DELETE.', post(DENIED_CALL, { method: 'DELETE', headers: [JSON_TYPE, 'mcp-session-id: 1'] }), {
    expect: HTTP,
  }),
  ...(['PUT', 'PATCH', 'OPTIONS', 'HEAD', 'QUERY'] as const).map((method) =>
    row(`http-${method.toLowerCase()}`, `The allowed call by ${method}.`, post(method === 'HEAD' ? '' : ALLOWED_CALL, { method }), { expect: HTTP }),
  ),
  row('override', 'Another method of HTTP in a header.', get({ method: 'PUT', body: DENIED_CALL, headers: [JSON_TYPE, 'x-http-method-override: POST'] }), {
    expect: HTTP,
  }),
  row('get-download', 'A GET for something else than a stream.', get({ path: '/admin', headers: ['accept: */*'] }), { expect: HTTP }),
  ...(
    [
      ['path', '/other'],
      ['path-below', '/mcp/admin'],
      ['path-dots', '/mcp/../admin'],
      ['path-encoded', '/mcp%2f..%2fadmin'],
      ['path-case', '/MCP'],
      ['path-double', '//mcp'],
      ['path-parameter', '/mcp;x=1'],
    ] as const
  ).map(([name, path]) => row(name, `The allowed call at ${path}.`, post(ALLOWED_CALL, { path }), { expect: HTTP })),
  row(
    'websocket',
    'The server over a WebSocket.',
    over(`GET /mcp HTTP/1.1\r\nhost: ${HOST}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n`, { host: HOST }),
    {
      expect: HTTP,
    },
  ),
  row('sse-transport', 'The older transport: a stream at a path of its own.', get({ path: '/sse' }), { expect: HTTP }),
  row(
    'other-port',
    'The allowed call on another port.',
    ask({ path: '/mcp', host: `${HOST}:8443`, body: ALLOWED_CALL, headers: [JSON_TYPE] }, { host: HOST, port: 8443 }),
    {
      expect: { outcome: ['http-status', 'closed', 'tls-refused', 'refused'], statuses: [403, 404, 421] },
    },
  ),
]);

/** What is let through carries our credential, and nothing of the agent's. */
const cleaned = table(
  'mcp',
  { given: 'mcp', expect: OK, canary: { name: 'other', without: ['agents-own'], with: ['Bearer sk-second', 'tools/call'] }, twin: twin() },
  [
    row('own-key', "A key of the agent's own.", post(ALLOWED_CALL, { headers: [JSON_TYPE, ACCEPT, 'authorization: Bearer agents-own'] }), { slice: true }),
    row(
      'own-key-twice',
      'Two of them.',
      post(ALLOWED_CALL, { headers: [JSON_TYPE, ACCEPT, 'Authorization: Bearer agents-own', 'authorization: Basic agents-own'] }),
    ),
    row('own-cookie', "A session of the agent's own.", post(ALLOWED_CALL, { headers: [JSON_TYPE, ACCEPT, 'cookie: session=agents-own'] })),
    row('own-api-key', 'A key in another header.', post(ALLOWED_CALL, { headers: [JSON_TYPE, ACCEPT, 'x-api-key: agents-own'] })),
  ],
);

export default [...judged, ...cleaned];
