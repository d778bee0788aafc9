import { denied, refused, table } from './build.ts';
import { ALLOWED_CALL, beside, bytes, call, DENIED_CALL, MCP, message, METHOD, post, read, row, REFUSED } from './mcp-build.ts';

/** In UTF-8. */
const text = (of: object) => bytes(Buffer.from(JSON.stringify(of)));

/** Messages: judged as any server would read them, or refused. */
export default table('mcp', MCP, [
  // Names of tools.
  row('denied-tool', 'A tool that is not allowed.', post(DENIED_CALL), { slice: true, expect: REFUSED, record: refused('ToolNotAllowed') }),
  row('case', 'The allowed tool in capitals.', post(call('SEARCH')), { expect: REFUSED }),
  row('prefix', 'A tool whose name begins like the allowed one.', post(call('search_and_delete')), { expect: REFUSED }),
  row('suffix', 'A tool whose name ends like the allowed one.', post(call('research')), { expect: REFUSED }),
  row('space', 'The allowed tool with a space after it.', post(call('search '))),
  row('line', 'The allowed tool with another line after it.', post(call('search\ndelete_all'))),
  row('nul', 'The allowed tool, a NUL and more.', post(call('search\0delete'))),
  row('look-alike', 'The allowed tool with a letter of another alphabet.', text(call('\u0455earch')), { expect: REFUSED }),
  row('zero-width', 'The allowed tool with a character that is not seen.', text(call('sea\u200brch'))),
  row('surrogate', 'The allowed tool with half a character after it.', post(ALLOWED_CALL.replace('"search"', '"search\\ud800"'))),
  row('tool-list', 'A list of tools for a name.', post(call(['search', 'delete_all']))),
  row('tool-object', 'An object for a name.', post(call({ toString: 'search' }))),
  row('tool-number', 'A number for a name.', post(call(1))),
  row('tool-absent', 'A call without a name.', post(message('tools/call', { arguments: {} }))),
  row('params-list', 'Parameters by position.', post(message('tools/call', ['delete_all', {}]))),
  row('params-absent', 'A call without parameters.', post({ jsonrpc: '2.0', id: 1, method: 'tools/call' })),
  row('params-text', 'Parameters as text.', post(message('tools/call', '{"name":"search"}'))),

  // Something said twice.
  row('duplicate-key', 'The name twice, the allowed one first.', post(ALLOWED_CALL.replace('"name":"search"', '"name":"search","name":"delete_all"')), {
    slice: true,
  }),
  row('duplicate-key-first', 'The name twice, the allowed one last.', post(beside('"params":{', '"name":"delete_all"'))),
  row('escaped-key', 'The name twice, once with an escape.', post(ALLOWED_CALL.replace('"name":"search"', '"name":"search","n\\u0061me":"delete_all"'))),
  row('case-key', 'The name twice, once in capitals, which some decoders take for the same.', post(beside('"params":{', '"Name":"delete_all"'))),
  row('duplicate-method', 'The method twice.', post(beside('{', '"method":"resources/read"'))),
  row('case-method', 'The method twice, once in capitals.', post(beside('{', '"METHOD":"resources/read"'))),
  row('duplicate-params', 'The parameters twice.', post(beside('{', '"params":{"name":"delete_all"}'))),
  row('answer-and-call', 'A call that is an answer, too.', post(call('delete_all', { result: {} }))),
  row('answer-with-params', 'An answer with parameters of a call, and no method.', post({ jsonrpc: '2.0', id: 1, result: {}, params: { name: 'delete_all' } })),
  row('no-method', 'A message that is neither a call nor an answer.', post({ jsonrpc: '2.0', id: 1, params: { name: 'delete_all' } })),
  row(
    'escaped',
    'A denied tool and the method, all in escapes.',
    post(DENIED_CALL.replace('delete_all', '\\u0064elete_all').replace('tools/call', '\\u0074ools\\/call')),
    { expect: REFUSED },
  ),
  row(
    'proto',
    'The name in what an object inherits.',
    post('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"__proto__":{"name":"search"},"arguments":{}}}'),
  ),

  // More than one message.
  row('batch', 'A batch with an allowed and a denied call.', post([call('search'), call('delete_all', { id: 2 })])),
  row('batch-of-one', 'A denied call in a batch of its own.', post([call('delete_all')])),
  row('batch-empty', 'An empty batch.', post([])),
  row('batch-nested', 'A batch in a batch.', post([[call('delete_all')]])),
  row('batch-same-id', 'A batch of two calls with the same id.', post([call('search'), call('delete_all')])),
  row('two-documents', 'Two documents in one body.', post(ALLOWED_CALL + DENIED_CALL)),
  row('two-lines', 'Two documents on two lines.', post(`${ALLOWED_CALL}\n${DENIED_CALL}\n`)),
  row('notification', 'A denied call that wants no answer.', post({ jsonrpc: '2.0', method: 'tools/call', params: { name: 'delete_all' } }), {
    expect: denied([200, 202, 400, 403]),
  }),

  // Other methods of the protocol.
  row('method', 'A resource that is not allowed.', post(read('file:///etc/passwd')), { expect: REFUSED, slice: true }),
  row('resource-case', 'Another scheme, which begins like the allowed one.', post(read('notes+file:///etc/passwd')), { expect: REFUSED }),
  row('resource-inside', 'The allowed URI inside of another.', post(read('file:///etc/passwd#notes://keeper')), { expect: REFUSED }),
  row('resource-space', 'A space before the URI.', post(read(' notes://keeper/today'))),
  row('resource-list', 'A list of URIs.', post(read(['notes://keeper/today', 'file:///etc/passwd']))),
  row('resource-absent', 'No URI.', post(message('resources/read'))),
  row('subscribe', 'A subscription to a resource that is not allowed.', post(message('resources/subscribe', { uri: 'file:///etc/passwd' })), {
    expect: REFUSED,
  }),
  row(
    'listen',
    'The same, as the newest revision of the protocol has it.',
    post(message('subscriptions/listen', { notifications: { resourceSubscriptions: ['notes://keeper/today', 'file:///etc/passwd'] } })),
    { expect: REFUSED },
  ),
  ...(
    [
      ['prompt', 'prompts/get', { name: 'search' }],
      ['completion', 'completion/complete', { ref: { type: 'ref/prompt', name: 'search' }, argument: { name: 'a', value: 'b' } }],
      ['logging', 'logging/setLevel', { level: 'debug' }],
      ['task', 'tasks/result', { taskId: '1' }],
      ['unknown-method', 'admin/shell', { name: 'search' }],
      ['method-slash', 'tools//call', { name: 'search' }],
      ['method-below', 'tools/call/delete_all', { name: 'search' }],
    ] as const
  ).map(([name, method, params]) => row(name, `The method ${JSON.stringify(method)}.`, post(message(method, params)), { expect: METHOD })),
  row('method-case', 'The method in other letters, which some servers take for it.', post(message('Tools/Call', { name: 'delete_all' }))),
  row('method-space', 'A method with a space after it.', post(message('tools/call ', { name: 'search' }))),
  row('method-list', 'A list of methods.', post(message(['tools/call'], { name: 'search' }))),
  row('method-null', 'No method, but one that is said to be none.', post(message(null, { name: 'delete_all' }))),
]);
