import { expect, test } from 'vitest';
import { cost, explainCommand, explainHints, exchangeTable, shortBytes } from '../../../src/cli/exchange-table.ts';
import { capture } from './capture.ts';
import { record } from '../telemetry/records.ts';

type Over = Parameters<typeof record>[0];
const linesOf = (columns: number | undefined, ...overs: readonly Over[]): string[] =>
  exchangeTable({ ...capture().io, ...(columns !== undefined && { columns }) }, overs.map(record))
    .trimEnd()
    .split('\n');
const rowOf = (over: Over): string[] => linesOf(undefined, { path: '', model: '', provider: '', ...over })[1]!.split(/ {2,}/);

test('a row says where it went, with the port unless it goes without saying, and how much', () => {
  expect(rowOf({})[2]).toBe('POST api.openai.com');
  expect(rowOf({ path: '/v1/chat/completions' })[2]).toBe('POST api.openai.com/v1/chat/completions');
  expect(rowOf({ destination: '198.18.0.5:8443' })[2]).toBe('POST api.openai.com:8443');
  expect(rowOf({ protocol: 'tcp', method: '', host: 'db.example.com', destination: '198.18.0.9:5432' })[2]).toBe('tcp db.example.com:5432');
  expect(rowOf({ protocol: 'tcp', method: '', host: '', destination: '10.40.0.5:5432' })[2]).toBe('tcp 10.40.0.5:5432');
  expect(rowOf({ protocol: 'udp', method: '', host: '', destination: '[2001:db8::1]:53' })[2]).toBe('udp [2001:db8::1]:53');
  expect(rowOf({ protocol: 'icmp', method: '', host: '', destination: '10.40.0.5' })[2]).toBe('icmp 10.40.0.5');
  expect(rowOf({ protocol: 'dns', method: 'AAAA', destination: '' })[2]).toBe('dns api.openai.com');
  expect(rowOf({ protocol: 'tcp', method: '', host: '', destination: '' })[2]).toBe('tcp');
  expect(rowOf({ requestBytes: 340, responseBytes: 1_234_567 }).at(-2)).toBe('340/1.2M');
  expect(rowOf({ requestBytes: 0, responseBytes: 0 }).at(-2)).toBe('-');
});

test('a row says what was decided and why, which model of which provider it was, and its tokens', () => {
  expect(linesOf(undefined, { time: '2026-11-24T10:00:00.123Z', path: '/v1/chat/completions' })).toEqual([
    'TIME          VERDICT  REQUEST                                  HTTP  MODEL               TOKENS  BYTES     MS',
    '10:00:00.123  Allowed  POST api.openai.com/v1/chat/completions  200   openai/gpt-4o-mini  12/34   512/1.0k  121',
  ]);
  expect(rowOf({ reason: 'Timeout' })[1]).toBe('Allowed Timeout');
  expect(rowOf({ verdict: 'Denied', reason: 'ModelNotAllowed' })[1]).toBe('Denied ModelNotAllowed');
  expect(rowOf({ provider: 'openai' })[4]).toBe('openai');
  expect(rowOf({ inputTokens: undefined } as never)[5]).toBe('?/34');
  expect(rowOf({ inputTokens: undefined, outputTokens: undefined } as never)[5]).toBe('-');
});

test('rows are cut to the width of a terminal: the request first, then the model, and no other column', () => {
  const long: Over = { path: `/v1/${'x'.repeat(200)}`, model: 'm'.repeat(60), verdict: 'Denied', reason: 'ModelNotAllowed' };
  const width = (lines: readonly string[]): number => Math.max(...lines.map((line) => line.length));
  expect(width(linesOf(undefined, long, {}))).toBeGreaterThan(300);
  const at120 = linesOf(120, long, {});
  expect(width(at120)).toBe(120);
  expect(at120[1]).toMatch(/ Denied ModelNotAllowed {2}POST api\.openai\.com\S*… {2}200 {3}openai\/mm+… {2}12\/34 {3}512\/1\.0k {2}121$/);
  const narrow = linesOf(40, long, {});
  expect(narrow[1]).toContain('POST api.openai.com/v1/…  200   openai/mmmm…  ');
  expect(linesOf(120, {})).toEqual(linesOf(undefined, {}));
});

test('wide rows say what it cost, what the provider fetched, whose it was and how to find it; they are never cut', () => {
  const { io } = capture();
  const of = (over: Over) =>
    exchangeTable({ ...io, columns: 40 }, [record(over)], true)
      .split('\n')
      .slice(0, 2);
  expect(of({ time: '2026-11-24T10:00:00.123Z', path: '/v1/chat/completions' })).toEqual([
    'TIME          VERDICT  REQUEST                                  HTTP  MODEL               TOKENS  BYTES     MS   COST       FETCHES               AGENT       ROUTE                           DECISION',
    `10:00:00.123  Allowed  POST api.openai.com/v1/chat/completions  200   openai/gpt-4o-mini  12/34   512/1.0k  121  $0.000123  images.example.com,*  summarizer  AIProviderRoute/default/openai  ${record().decisionId}`,
  ]);
  expect(of({ costUsd: undefined, providerFetches: [], agent: '', route: '' } as never)[1]).toMatch(/ 121 {2}- +- +- +- +\S+$/);
});

test('a cost has cents and what is below them, and says when it is only a bound', () => {
  const of = (costUsd?: number, costEstimated = false) => cost({ ...(costUsd !== undefined && { costUsd }), costEstimated });
  expect([of(), of(0), of(0.5), of(12), of(0.000_001), of(1.234_5, true)]).toEqual(['-', '$0.00', '$0.50', '$12.00', '$0.000001', '≤$1.2345']);
});

test('bytes have at most three digits', () => {
  expect([0, 999, 1_000, 9_940, 9_960, 99_400, 999_499, 999_500, 5e12, 5e15].map(shortBytes)).toEqual([
    '0',
    '999',
    '1.0k',
    '9.9k',
    '10k',
    '99k',
    '999k',
    '1.0M',
    '5.0T',
    '5000T',
  ]);
});

test('a record that was denied can be asked about, in words a shell takes as they are', () => {
  const ask = (over: Parameters<typeof record>[0]) => explainCommand(record({ agent: 'probe', verdict: 'Denied', ...over }), 'default');
  expect(ask({})).toBe('clrk explain default/probe POST https://api.openai.com/v1/chat/completions --model gpt-4o-mini');
  expect(ask({ destination: '198.18.0.5:8443', model: '' })).toBe('clrk explain default/probe POST https://api.openai.com:8443/v1/chat/completions');
  const mcp = { host: 'mcp.example.com', path: '/mcp', model: '' };
  const post = 'clrk explain default/probe POST https://mcp.example.com/mcp';
  expect(ask({ ...mcp, mcpMethod: 'tools/call', tool: 'search' })).toBe(`${post} --tool search`);
  expect(ask({ ...mcp, mcpMethod: 'resources/read', mcpResource: 'x:1' })).toBe(`${post} --resource x:1`);
  expect(ask({ ...mcp, mcpMethod: 'resources/subscribe', mcpResource: 'x:1' })).toBe(`${post} --mcp-method resources/subscribe --resource x:1`);
  expect(ask({ ...mcp, mcpMethod: 'tools/list' })).toBe(`${post} --mcp-method tools/list`);
  expect(ask({ protocol: 'tls', host: 'a.example.com' })).toBe('clrk explain default/probe tcp a.example.com:443 --sni a.example.com');
  expect(ask({ protocol: 'tcp', host: '', destination: '10.40.0.5:5432' })).toBe('clrk explain default/probe tcp 10.40.0.5:5432');
  expect(ask({ protocol: 'udp', host: '', destination: '[2001:db8::1]:53' })).toBe("clrk explain default/probe udp '[2001:db8::1]:53'");
  expect(ask({ protocol: 'dns', host: 'a.example.com', destination: '' })).toBe('clrk explain default/probe GET https://a.example.com/');
  expect(ask({ path: "/$(reboot)'`x`", model: '' })).toBe(String.raw`clrk explain default/probe POST 'https://api.openai.com/$(reboot)'\''` + "`x`'");
  for (const over of [
    { method: '--help' },
    { path: '/a\nb' },
    { path: '/\u001b[2J' },
    { agent: '' },
    { protocol: 'icmp' },
    { protocol: 'tcp', destination: '' },
  ])
    expect(ask(over), JSON.stringify(over)).toBeUndefined();
});

test('the newest few that were denied, each once', () => {
  const denied = (host: string) => ({ ...record({ verdict: 'Denied', protocol: 'dns', host }), metadata: { namespace: 'team' } });
  const hints = explainHints([record(), ...['a', 'b', 'c', 'd', 'd'].map((name) => denied(`${name}.example.com`))], 'default');
  expect(hints).toEqual(['d', 'c', 'b'].map((name) => `clrk explain team/summarizer GET https://${name}.example.com/`));
});
