import { ask, BODY, CHAT, good, http1, OPENAI, type Step } from '../steps.ts';
import { asked, denied, PROVIDER, refused, table } from './build.ts';

const body = (text: string, headers: readonly string[] = ['content-type: application/json']): Step => ask({ body: text, headers });
const chat = (change: Record<string, unknown>): Step => body(JSON.stringify({ ...good, ...change }));
/** The body as bytes, after headers that say how many there are. */
const bytes = (content: Buffer, type = 'application/json'): Step => ({
  tls: {
    host: OPENAI,
    port: 443,
    servername: OPENAI,
    alpn: ['http/1.1'],
    script: [{ text: http1({ body: '', headers: [`content-type: ${type}`, `content-length: ${content.length}`] }) }, { hex: content.toString('hex') }],
    until: 'answer',
  },
});
const utf16 = (text: string, bom: boolean): Buffer => Buffer.from(bom ? `\ufeff${text}` : text, 'utf16le');
const raw = (field: string, value: string): Step => body(BODY.replace('{', `{"${field}":${value},`));
const call = (path: string, method = 'POST', text = BODY): Step => ask({ method, path, body: text });

/** Requests that mean more, or something else, to the provider than to who judges them; and some that are to keep him busy. */
export default table('llm requests', { canary: PROVIDER, twin: asked(), expect: denied(400) }, [
  // Busy: an answer has to come as soon as to any other request.
  {
    name: 'string-without-end',
    what: 'A string that does not end.',
    steps: [body(`{"model":"${'a'.repeat(64)}`)],
    record: refused('InvalidJson'),
    slice: true,
  },
  { name: 'string-without-end-escaped', what: 'A string that does not end, after an escape.', steps: [body(`{"model":"\\n${'a'.repeat(64)}`)] },
  { name: 'control-character', what: 'A string with a control character at its end.', steps: [body(`{"model":"${'a'.repeat(64)}\u0001"}`)] },
  {
    name: 'many-objects',
    what: 'Hundreds of thousands of empty objects.',
    steps: [raw('metadata', `[${'{},'.repeat(300_000)}0]`)],
    record: refused('TooComplex'),
  },
  { name: 'many-fields', what: 'An object of many fields.', steps: [body(`{${Array.from({ length: 20_000 }, (_, n) => `"${n}":0`).join()}}`)] },
  { name: 'deep', what: 'Lists in lists, a hundred thousand deep.', steps: [raw('metadata', '['.repeat(100_000))], record: refused('TooDeep') },

  // Numbers, and names of fields.
  ...(['1e3', '10.0', '-0', '0x10', '1e999', '99999999999', '01', '+1', 'Infinity'] as const).map((text) => ({
    name: `limit-${text}`,
    what: `A limit of ${text}.`,
    steps: [raw('max_tokens', text)],
  })),
  { name: 'limit-text', what: 'A limit as text.', steps: [chat({ max_completion_tokens: '1' })] },
  { name: 'limit-list', what: 'A limit in a list.', steps: [chat({ max_completion_tokens: [1] })] },
  { name: 'n-truth', what: 'A truth value for a number of answers.', steps: [chat({ n: true })] },
  { name: 'stream-text', what: 'A stream asked for by text.', steps: [chat({ stream: 'true' })] },
  {
    name: 'name-long-s',
    what: 'A limit whose name has a long s, which some decoders take for an s.',
    steps: [raw('max_completion_token\\u017f', '9999')],
    slice: true,
  },
  { name: 'name-kelvin', what: 'A limit whose name has the sign for Kelvin.', steps: [raw('max_completion_to\\u212aens', '9999')] },
  { name: 'name-case', what: 'Another model under a name in capitals.', steps: [raw('MODEL', '"gpt-5"')] },
  {
    name: 'part-twice',
    what: 'A part of a message with two types that differ in case.',
    steps: [chat({ messages: [{ role: 'user', content: [{ type: 'text', Type: 'image_url', text: 'x', image_url: { url: 'https://exfil.test/' } }] }] })],
  },

  // Other writings of a body.
  { name: 'utf-16', what: 'A body in UTF-16.', steps: [bytes(utf16(BODY, false))] },
  { name: 'utf-16-mark', what: 'A body in UTF-16 with a mark.', steps: [bytes(utf16(BODY, true))] },
  {
    name: 'utf-16-said',
    what: 'A body whose type says UTF-16.',
    steps: [bytes(utf16(BODY, true), 'application/json; charset=utf-16')],
    expect: denied([400, 415]),
  },
  {
    name: 'utf-7-said',
    what: 'A body whose type says UTF-7.',
    steps: [body(BODY, ['content-type: application/json; charset=utf-7'])],
    expect: denied([400, 415]),
  },
  { name: 'mark', what: 'A body with a mark of UTF-8.', steps: [bytes(Buffer.from(`\ufeff${BODY}`))] },
  {
    name: 'overlong',
    what: 'A body with an overlong quote.',
    steps: [bytes(Buffer.concat([Buffer.from('{"model\xc0\xa2:1,', 'latin1'), Buffer.from(BODY.slice(1))]))],
  },
  { name: 'two-bodies', what: 'Two objects one after the other.', steps: [body(`${BODY}\n${BODY}`)] },
  {
    name: 'form',
    what: 'The request as a form.',
    steps: [body('model=gpt-4.1-mini', ['content-type: application/x-www-form-urlencoded'])],
    expect: denied([400, 415]),
  },
  {
    name: 'two-types',
    what: 'Two types of the body.',
    steps: [body(BODY, ['content-type: application/json', 'content-type: text/plain'])],
    expect: denied([400, 415]),
  },

  // Calls that cost, keep or say something outside of what is metered.
  ...(
    [
      ['batches', '/v1/batches'],
      ['files', '/v1/files'],
      ['fine-tuning', '/v1/fine_tuning/jobs'],
      ['assistants', '/v1/threads/runs'],
      ['conversations', '/v1/conversations'],
      ['realtime-sessions', '/v1/realtime/sessions'],
      ['videos', '/v1/videos'],
      ['containers', '/v1/containers'],
      ['uploads', '/v1/uploads'],
      ['vector-stores', '/v1/vector_stores'],
      ['background', '/v1/responses'],
    ] as const
  ).map(([name, path]) => ({
    name,
    what: `A call to ${path}.`,
    steps: [call(path, 'POST', JSON.stringify({ ...good, background: true, input: 'x' }))],
    expect: denied([400, 403]),
  })),
  { name: 'stored-answer', what: 'An answer that was stored before.', steps: [call('/v1/responses/resp_1', 'GET', '')], expect: denied(403) },
  { name: 'stored-chats', what: 'The chats that were stored.', steps: [call(CHAT, 'GET', '')], expect: denied([403, 415]) },
  {
    name: 'override',
    what: 'Another method in a header.',
    steps: [ask({ method: 'GET', body: '', headers: ['x-http-method-override: POST'] })],
    expect: denied([403, 415]),
  },
  {
    name: 'realtime',
    what: 'A WebSocket to the realtime API.',
    steps: [
      ask({
        method: 'GET',
        path: '/v1/realtime?model=gpt-4.1',
        body: '',
        close: false,
        headers: ['connection: upgrade', 'upgrade: websocket', 'sec-websocket-version: 13', 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=='],
      }),
    ],
    expect: denied([400, 403]),
  },

  // Searches and fetches that are no tool.
  {
    name: 'search-model',
    what: 'A model that searches the web whatever is asked.',
    steps: [chat({ model: 'gpt-4.1-search-preview' })],
    expect: denied(403, 'ProviderFetchNotAllowed'),
  },
  {
    name: 'search-parameters',
    what: 'A search by the field of another API.',
    steps: [chat({ search_parameters: { mode: 'on' } })],
    expect: denied(403, 'ProviderFetchNotAllowed'),
  },
  ...(
    [
      'https://api.openai.com#@exfil.test/',
      'https://api.openai.com?@exfil.test/',
      'https://api.openai.com\\.exfil.test/',
      'https:api.openai.com@exfil.test',
    ] as const
  ).map((url, n) => ({
    name: `image-two-hosts-${n}`,
    what: 'An image whose URL has a host for each reader.',
    steps: [chat({ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }] })],
    expect: denied(403, 'ProviderFetchNotAllowed'),
  })),
]);
