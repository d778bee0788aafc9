// Uses the tools of an MCP server, the one at MCP_URL. Each line of the text it is sent is `TOOL ARGUMENTS` (JSON), or `list`; each answer is a line of its own:
// what the tool said, or the refusal. It has no key for the server; API_KEY, if there is one, is sent as any client would.
import { json } from 'node:stream/consumers';

const { MCP_URL, API_KEY } = process.env;
const headers = {
  'content-type': 'application/json',
  accept: 'application/json, text/event-stream',
  ...(API_KEY && { authorization: `Bearer ${API_KEY}` }),
};

/** The message among the events of a stream that answers a request. */
const answerIn = (stream, id) => {
  const messages = stream
    .split('\n')
    .filter((line) => line.startsWith('data:') && line.length > 'data: '.length)
    .map((line) => JSON.parse(line.slice('data:'.length)));
  return messages.find((message) => message.id === id);
};

let requests = 0;
/** Sends a message. A refusal of the gateway is the error of the call, or an answer of HTTP that has the same in it. */
const send = async (method, params, id) => {
  const response = await fetch(MCP_URL, { method: 'POST', headers, body: JSON.stringify({ jsonrpc: '2.0', ...(id !== undefined && { id }), method, params }) });
  const body = await response.text();
  if (!response.ok) throw new Error(`${response.status} ${body.trim()}`);
  headers['mcp-session-id'] ??= response.headers.get('mcp-session-id') ?? undefined;
  if (id === undefined) return undefined;
  const { result, error } = response.headers.get('content-type').startsWith('text/event-stream') ? answerIn(body, id) : JSON.parse(body);
  if (error) throw new Error(`${error.data?.code ?? error.code}: ${error.message}`);
  return result;
};
const request = (method, params) => send(method, params, requests++);

const use = async (line) => {
  const [tool, ...given] = line.split(' ');
  if (tool === 'list') return (await request('tools/list')).tools.map(({ name }) => name).join(', ');
  const { content } = await request('tools/call', { name: tool, arguments: JSON.parse(given.join(' ') || '{}') });
  return content.map(({ text }) => text).join(' ');
};

const event = await json(process.stdin);
try {
  const { protocolVersion } = await request('initialize', {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: { name: 'example', version: '1.0.0' },
  });
  headers['mcp-protocol-version'] = protocolVersion;
  await send('notifications/initialized');
  for (const line of String(event.data ?? '')
    .split('\n')
    .map((text) => text.trim())
    .filter(Boolean)) {
    console.log(`${line.split(' ')[0]} -> ${await use(line).catch(({ message }) => message)}`);
  }
} catch (error) {
  console.log(`${MCP_URL} -> ${error.cause?.code ?? error.message}`);
}
process.exit(0);
