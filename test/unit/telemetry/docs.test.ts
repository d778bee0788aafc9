import { expect, test } from 'vitest';
import { EXCHANGE_COLUMNS, genTelemetryDocs, LOG_COLUMNS } from '#telemetry';

test('tokens are named in both spellings, and the attributes people query by are there', () => {
  const names = EXCHANGE_COLUMNS.flatMap(({ attributes }) => attributes);
  for (const name of [
    'gen_ai.tokens.input',
    'gen_ai.tokens.output',
    'gen_ai.usage.input_tokens',
    'gen_ai.usage.output_tokens',
    'gen_ai.request.model',
    'gen_ai.provider.name',
    'gen_ai.system',
    'gen_ai.operation.name',
    'gen_ai.request.max_tokens',
    'gen_ai.request.stream',
    'gen_ai.response.model',
    'gen_ai.response.id',
    'gen_ai.response.finish_reasons',
    'clrk.provider_fetch',
    'clrk.aiproviderroute.matched',
    'clrk.credential.replaced',
    'clrk.credential.echoed',
    'http.request.method',
    'server.address',
    'url.path',
    'http.response.status_code',
    'invocation.id',
    'agent.name',
    'agent.namespace',
    'agent.kind',
  ]) {
    expect(names).toContain(name);
  }
  expect(new Set(names).size).toBe(names.length);
});

test('the reference page has a row for every column', () => {
  const rows = genTelemetryDocs()
    .split('\n')
    .filter((line) => line.startsWith('| `'));
  expect(rows.map((row) => row.split('`')[1])).toEqual([...EXCHANGE_COLUMNS, ...LOG_COLUMNS].map(({ name }) => name));
  expect(rows.every((row) => row.split(/(?<!\\)\|/).length === 7)).toBe(true);
});
