import { expect, test } from 'vitest';
import { parseQuestion } from '#policy';

const agent = { namespace: 'default', agent: 'a' };
const request = (method: string, url: string, more: object = {}) => parseQuestion({ ...agent, method, url, ...more });
const connection = (protocol: string, destination: string, more: object = {}) => parseQuestion({ ...agent, protocol, destination, ...more });

test('a request is TLS or not by its scheme, with the port and server name a client would use', () => {
  expect(request('post', 'HTTPS://API.OpenAI.com/v1/responses?x=1#y', { model: 'gpt-4.1' })).toEqual({
    asked: 'POST https://api.openai.com/v1/responses for model "gpt-4.1"',
    connection: { transport: 'TCP', port: 443, host: 'api.openai.com', speaks: 'tls', sni: 'api.openai.com' },
    request: { method: 'POST', path: '/v1/responses', model: 'gpt-4.1' },
  });
  expect(request('GET', 'http://example.com')).toMatchObject({ connection: { port: 80, speaks: 'plain', host: 'example.com' }, request: { path: '/' } });
  expect(request('GET', 'wss://example.com:8443/chat')).toMatchObject({ connection: { port: 8443, speaks: 'tls' } });
  expect(request('GET', 'ws://example.com/')).toMatchObject({ connection: { port: 80, speaks: 'plain' } });
});

test('a message to an MCP server', () => {
  const post = (more: object) => request('POST', 'https://mcp.test/mcp', more);
  expect(post({ tool: 'search' })).toMatchObject({
    asked: 'POST https://mcp.test/mcp with message tools/call of "search"',
    request: { mcp: { method: 'tools/call', tool: 'search' } },
  });
  expect(post({ resource: 'x:1' })).toMatchObject({ request: { mcp: { method: 'resources/read', resource: 'x:1' } } });
  expect(post({ resource: 'x:1', mcpMethod: 'resources/subscribe' })).toMatchObject({ request: { mcp: { method: 'resources/subscribe', resource: 'x:1' } } });
  expect(post({ mcpMethod: 'tools/list' })).toMatchObject({
    asked: 'POST https://mcp.test/mcp with message tools/list',
    request: { mcp: { method: 'tools/list' } },
  });
  expect(post({})).not.toHaveProperty('request.mcp');
});

test('an address is one however it is spelled, and has no server name unless one is given', () => {
  expect(request('GET', 'https://10.0.0.1/')).toEqual({
    asked: 'GET https://10.0.0.1/',
    connection: { transport: 'TCP', port: 443, address: '10.0.0.1', speaks: 'tls' },
    request: { method: 'GET', path: '/' },
  });
  for (const url of ['https://2130706433/', 'https://0x7f.1/', 'https://127.0.0.1/'])
    expect(request('GET', url)).toMatchObject({ connection: { address: '127.0.0.1' } });
  for (const host of ['[2001:db8:0:0::5]', '[2001:DB8::5]']) {
    expect(request('GET', `https://${host}/`)).toMatchObject({ connection: { address: '2001:db8::5' } });
    expect(connection('tcp', `${host}:5432`)).toMatchObject({ asked: 'tcp [2001:db8::5]:5432', connection: { address: '2001:db8::5', port: 5432 } });
  }
  expect(request('GET', 'https://10.0.0.1/', { sni: 'DB.example.com' })).toMatchObject({
    asked: 'GET https://10.0.0.1/ with server name "db.example.com"',
    connection: { sni: 'db.example.com' },
  });
});

test('a connection speaks cleartext, or TLS with or without a name', () => {
  expect(connection('TCP', 'DB.example.com:5432')).toEqual({
    asked: 'tcp db.example.com:5432',
    connection: { transport: 'TCP', port: 5432, host: 'db.example.com', speaks: 'plain' },
  });
  expect(connection('tcp', 'db.example.com:5432', { sni: 'db.example.com' })).toMatchObject({ connection: { speaks: 'tls', sni: 'db.example.com' } });
  const nameless = connection('tcp', 'db.example.com:5432', { sni: '' });
  expect(nameless).toMatchObject({ asked: 'tcp db.example.com:5432, TLS without a server name', connection: { speaks: 'tls' } });
  expect(nameless).not.toHaveProperty('connection.sni');
  expect(request('GET', 'https://a.example.com/', { sni: '' })).not.toHaveProperty('connection.sni');
  expect(connection('udp', '10.0.0.1:53')).toMatchObject({ connection: { transport: 'UDP', address: '10.0.0.1', port: 53 } });
});

test.each([
  [request('G ET', 'https://a.example.com/'), /not an HTTP method/],
  [request('GET', 'example.com'), /not a URL/],
  [request('GET', 'ftp://example.com/'), /begins with https/],
  [request('GET', 'https://me:pw@example.com/'), /user or password/],
  [request('GET', 'https://a_b.example.com/'), /neither a host name nor an IP address/],
  [request('GET', 'http://example.com/', { sni: 'example.com' }), /--sni is for TLS/],
  [request('GET', 'https://a.example.com/', { tool: 'x' }), /sent with POST/],
  [request('POST', 'https://a.example.com/', { tool: 'x', resource: 'y' }), /not both/],
  [request('POST', 'https://a.example.com/', { tool: 'x', mcpMethod: 'ping' }), /--tool is for tools\/call/],
  [request('POST', 'https://a.example.com/', { resource: 'x', mcpMethod: 'ping' }), /--resource is for resources\/read/],
  [connection('tcp', 'example.com:1', { tool: 'x' }), /are for requests/],
  [connection('icmp', 'example.com:1'), /neither tcp nor udp/],
  [connection('tcp', 'example.com'), /not HOST:PORT/],
  [connection('tcp', 'example.com:0'), /not a port/],
  [connection('tcp', 'example.com:65536'), /not a port/],
  [connection('tcp', '2001:db8::5:5432'), /not HOST:PORT/],
  [connection('tcp', '[fe80::1%eth0]:22'), /neither a host name nor an IP/],
  [connection('tcp', '999.0.0.1:22'), /neither a host name nor an IP/],
  [connection('udp', 'example.com:53', { sni: '' }), /none over UDP/],
  [connection('tcp', 'example.com:53', { model: 'm' }), /--model is for requests/],
])('%j', (problem, text) => expect(problem).toMatch(text));
