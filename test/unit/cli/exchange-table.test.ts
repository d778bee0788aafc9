import { expect, test } from 'vitest';
import { explainCommand, explainHints, exchangeTable, shortBytes } from '../../../src/cli/exchange-table.ts';
import { capture } from './capture.ts';
import { record } from '../telemetry/records.ts';

const rowOf = (over: Parameters<typeof record>[0]): string[] =>
  exchangeTable(capture().io, [record({ path: '', model: '', ...over })])
    .split('\n')[1]!
    .split(/ {3,}/);

test('a row says where it went, with the port unless it goes without saying, and how much', () => {
  expect(rowOf({})[4]).toBe('api.openai.com');
  expect(rowOf({ destination: '198.18.0.5:8443' })[4]).toBe('api.openai.com:8443');
  expect(rowOf({ protocol: 'tcp', method: '', host: 'db.example.com', destination: '198.18.0.9:5432' }).slice(3, 5)).toEqual(['tcp', 'db.example.com:5432']);
  expect(rowOf({ protocol: 'tcp', method: '', host: '', destination: '10.40.0.5:5432' })[4]).toBe('10.40.0.5:5432');
  expect(rowOf({ protocol: 'udp', method: '', host: '', destination: '[2001:db8::1]:53' })[4]).toBe('[2001:db8::1]:53');
  expect(rowOf({ protocol: 'icmp', method: '', host: '', destination: '10.40.0.5' }).slice(3, 5)).toEqual(['icmp', '10.40.0.5']);
  expect(rowOf({ protocol: 'dns', method: 'AAAA', destination: '' }).slice(3, 5)).toEqual(['dns', 'api.openai.com']);
  expect(rowOf({ requestBytes: 340, responseBytes: 1_234_567 }).at(-2)).toBe('340/1.2M');
  expect(rowOf({ requestBytes: 0, responseBytes: 0 }).at(-2)).toBe('-');
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
