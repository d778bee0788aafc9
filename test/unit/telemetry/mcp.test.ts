import { expect, test } from 'vitest';
import { EXCHANGE_COLUMNS } from '#telemetry';
import { parseAccess, parseEgress } from '../../../src/telemetry/recorder/lines.ts';
import { recordOfAccess, recordOfEgress } from '../../../src/telemetry/recorder/record.ts';
import { verdictOf } from '../../../src/telemetry/recorder/verdict.ts';

const engine = (mcp: unknown, over: object = {}) => ({
  verdict: 'Allowed',
  reason: 'Allowed',
  route: 'MCPRoute/demo/mcp',
  rule: 0,
  revision: 'r',
  mcp,
  ...over,
});
const access = (over: object) =>
  parseAccess(
    JSON.stringify({
      time: '2026-11-24T10:00:00.000Z',
      id: 'd',
      chain: 'http',
      gateway: 'g',
      source: 's',
      sni: 'mcp.test',
      host: 'mcp.test',
      status: 200,
      ...over,
    }),
  )!;

const attributesOf = (record: object): Record<string, unknown> =>
  Object.fromEntries(
    EXCHANGE_COLUMNS.flatMap(({ field, attributes }) => attributes.map((name) => [name, field && (record as Record<string, unknown>)[field]] as const)).filter(
      ([name]) => name.startsWith('mcp.') || name === 'gen_ai.tool.name' || name === 'gen_ai.operation.name',
    ),
  );

test('a message to an MCP server has its attributes by the names of OpenTelemetry', () => {
  const call = engine({ method: 'tools/call', tool: 'search', session: 's-1', protocol: '2025-11-25' }, { operation: 'execute_tool' });
  const expected = {
    'mcp.method.name': 'tools/call',
    'gen_ai.tool.name': 'search',
    'gen_ai.operation.name': 'execute_tool',
    'mcp.session.id': 's-1',
    'mcp.protocol.version': '2025-11-25',
    'mcp.resource.uri': '',
  };
  expect(attributesOf(recordOfAccess(access({ engine: call }), undefined, '0'))).toEqual(expected);
  const line = { event: 'refused', time: 1, id: 'd', gateway: 'g', source: 's', host: 'mcp.test', verdict: 'Denied', reason: 'ToolNotAllowed', engine: call };
  expect(attributesOf(recordOfEgress(parseEgress(JSON.stringify(line))!, undefined, '0'))).toEqual(expected);
  const read = recordOfAccess(access({ engine: engine({ method: 'resources/read', resource: 'file:///docs/a' }) }), undefined, '0');
  expect(read).toMatchObject({ mcpResource: 'file:///docs/a', mcpMethod: 'resources/read', tool: '', route: 'MCPRoute/demo/mcp', routeMatched: false });
});

test('what looks like a secret in a name is not kept, and what is no text is absent', () => {
  const key = 'sk-proj-Canary00Canary11Canary22';
  const record = recordOfAccess(access({ engine: engine({ method: key, tool: key, resource: `x:${key}`, session: key, protocol: key }) }), undefined, '0');
  expect(JSON.stringify(record)).not.toContain('Canary11');
  for (const mcp of [undefined, 5, [], { method: 5, tool: {}, session: null }])
    expect(recordOfAccess(access({ engine: engine(mcp) }), undefined, '0')).toMatchObject({
      mcpMethod: '',
      tool: '',
      mcpSession: '',
      mcpProtocol: '',
      mcpResource: '',
    });
});

test('a refusal that is answered with 200 is one, and so is a request the engine never judged', () => {
  expect(verdictOf(access({ engine: engine({}, { verdict: 'Denied', reason: 'ToolNotAllowed' }) }))).toEqual({ verdict: 'Denied', reason: 'ToolNotAllowed' });
  expect(verdictOf(access({ route: 'MCPRoute/demo/mcp' }))).toEqual({ verdict: 'Denied', reason: 'EngineUnavailable' });
});
