import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runCli } from '#cli';
import { COMMANDS } from '../../../src/cli/commands/index.ts';
import { parseSecretFlag, parseUpstreamDns, parseWorkers } from '../../../src/cli/commands/dev.ts';
import { exchangeLine } from '../../../src/cli/exchanges.ts';
import { logText } from '../../../src/cli/logs.ts';
import { printable, table } from '../../../src/cli/output.ts';
import { capture } from './capture.ts';

describe('help', () => {
  test.each(COMMANDS.filter(({ hidden }) => !hidden).map(({ path }) => [path]))('%j shows what it does and examples', async (path) => {
    const { io, seen } = capture();
    expect(await runCli([...path, '--help'], io)).toBe(0);
    expect(seen.out).toMatch(/Usage: clrk/);
    expect(seen.out).toMatch(/Examples:\n {2}\S/);
  });

  test('flags of every command are in the help of each; --version says one', async () => {
    const { io, seen } = capture();
    expect(await runCli(['agents', 'list', '--help'], io)).toBe(0);
    expect(seen.out).toMatch(/Global Options:[^]*--kubeconfig <FILE>/);
    expect(await runCli(['--version'], io)).toBe(0);
    expect(seen.out).toMatch(/\n\d+\.\d+\.\d+\n$/);
  });

  test('a command line that is wrong exits 2 and says what is wrong', async () => {
    const { io, seen } = capture();
    expect(await runCli(['no-such-command'], io)).toBe(2);
    expect(await runCli(['agents', 'run-task'], io)).toBe(2);
    expect(await runCli(['apply', '--no-such-flag'], io)).toBe(2);
    expect(seen.err).toMatch(/unknown command 'no-such-command'[^]*missing required argument 'NAME'[^]*unknown option '--no-such-flag'/);
  });
});

describe('errors say what to do', () => {
  test('a part of the bench that there is not; every file of the bench is one', async () => {
    const { io, seen } = capture();
    expect(await runCli(['bench', 'nope'], io)).toBe(1);
    const files = (await readdir(join(import.meta.dirname, '../../perf'))).flatMap((name) => /^(.+)\.test\.ts$/.exec(name)?.[1] ?? []);
    expect(seen.err).toContain(`Parts are ${files.toSorted().join(', ')}.`);
  });

  test('no API to talk to', async () => {
    const { io, seen } = capture();
    expect(await runCli(['agents', 'list'], io)).toBe(1);
    expect(seen.err).toMatch(/clrk dev.*--clrk-dir.*--kubeconfig/);
  });

  test('a state directory without a stack', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'clrk-cli-'));
    const { io, seen } = capture();
    expect(await runCli(['egress', 'log', '--clrk-dir', dir], io)).toBe(1);
    expect(seen.err).toContain(`No clrk stack runs in ${dir}`);
    await writeFile(join(dir, 'dev.json'), JSON.stringify({ pid: process.pid, api: 'https://127.0.0.1:1', ingress: '' }));
    expect(await runCli(['egress', 'log', '--clrk-dir', dir], io)).toBe(1); // left by a stack that is gone
    await rm(dir, { recursive: true });
  });

  test.each([
    [['secret', 'set', 'a'], /at least one value/],
    [['secret', 'set', 'a', '--from-literal', 'novalue'], /KEY=/],
    [['secret', 'set', 'a', '--from-env', 'k=NOT_SET_ANYWHERE'], /NOT_SET_ANYWHERE is not set/],
    [['secret', 'set', 'a', '--from-file', 'k=/no/such/file'], /Cannot read \/no\/such\/file/],
    [['dev', 'wait-ready', '--timeout', 'soon'], /--timeout soon is not a positive duration/],
    [['image', 'build', '.'], /-t NAME/],
    [['image', 'build', '-t', 'a/b:1', '--runtime', 'cobol', '.'], /cobol/],
    [['demo', '--provider', 'openai'], /OPENAI_API_KEY[^]*export OPENAI_API_KEY/],
    [['demo', '--provider', 'elsewhere'], /fixture or openai/],
    [['apply'], /file or directory/],
    [['agents', 'logs', 'a/b/c'], /neither NAME nor NAME\/INVOCATION/],
    [['agents', 'logs', 'a/'], /neither NAME nor NAME\/INVOCATION/],
    [['agents', 'logs', 'a', '--iostream', 'stdin'], /--iostream stdin is none of stdout, stderr/],
    [['agents', 'logs', 'a', '--tail', '5000'], /--tail 5000 is not a number of 0 to 1000/],
    [['agents', 'logs', 'a', '--since', 'soon'], /--since soon is neither a duration nor a time/],
    [['agents', 'logs', 'a', '--color', 'red'], /--color red is none of/],
    [['agents', 'logs', 'a', '-o', 'yaml'], /--output yaml is none of json/],
  ])('%j', async (argv, text) => {
    const { io, seen } = capture();
    expect(await runCli(argv, io)).toBe(1);
    expect(seen.err).toMatch(text);
  });
});

test('doctor names every part, and exits 1 when one is missing', async () => {
  const { io, seen } = capture();
  const dir = await mkdtemp(join(tmpdir(), 'clrk-cli-'));
  const tools = process.env['CLRK_TOOLS'];
  delete process.env['CLRK_TOOLS'];
  try {
    expect(await runCli(['doctor', '--clrk-dir', dir], io)).toBe(1);
  } finally {
    if (tools !== undefined) process.env['CLRK_TOOLS'] = tools;
    await rm(dir, { recursive: true });
  }
  expect(seen.out).toMatch(/^Envoy\s+missing\s+missing\s+-\s+Run \.\/clrk setup/m);
  expect(seen.out).toMatch(/^nsenter\s+ok\s+nsenter from util-linux/m);
});

test('--secret: NAME=ENVVAR[:KEY], checked before anything starts', () => {
  expect(parseSecretFlag('openai=OPENAI_AUTH', { OPENAI_AUTH: 'v' })).toEqual({ name: 'openai', key: 'openai-auth', value: 'v' });
  expect(parseSecretFlag('openai=X:authorization', { X: '' })).toEqual({ name: 'openai', key: 'authorization', value: '' });
  expect(() => parseSecretFlag('openai=X', {})).toThrow(/X is not set/);
  for (const bad of ['openai', '=X', 'Open=X', 'a=1X', 'a=X:']) expect(() => parseSecretFlag(bad, { X: '1' })).toThrow(/NAME=ENVVAR/);
});

test('tables align, and foreign text cannot write to the terminal', () => {
  expect(table(['NAME', 'B'], [['long-name', 'x']])).toBe('NAME        B\nlong-name   x\n');
  expect(printable('a\u001b[31mred\u0007\nb')).toBe('ared\\x07\\x0ab');
});

test('egress log -o json has exactly the promised fields, in order', () => {
  const exchange = {
    time: 't',
    invocation: 'i',
    agent: 'a',
    gateway: 'g',
    route: 'r',
    protocol: 'https',
    method: 'POST',
    host: 'h',
    path: '/p',
    status: 200,
    verdict: 'Allowed',
    reason: 'Allowed',
    decisionId: 'd',
    revision: 'v',
    model: 'm',
    inputTokens: 1,
    outputTokens: 2,
    durationMs: 3,
    destination: '198.18.0.5:443',
    requestBytes: 4,
    responseBytes: 5,
    provider: 'openai',
    operation: 'chat',
    routeMatched: true,
    stream: false,
    responseModel: 'm-1',
    responseId: 'r-1',
    finishReasons: ['stop'],
    budgetOverrun: false,
    providerFetches: [],
    mcpMethod: '',
    mcpSession: '',
    mcpProtocol: '',
    tool: '',
    mcpResource: '',
    credentialsReplaced: [],
    credentialsEchoed: [],
    namespace: 'n',
    worker: '0',
    traceId: 't',
    spanId: 's',
    costUsd: 0.25,
    costEstimated: false,
    kind: 'not shown',
  } as const;
  expect(Object.keys(JSON.parse(exchangeLine(exchange)) as object)).toEqual([
    'time',
    'invocation',
    'agent',
    'gateway',
    'route',
    'protocol',
    'method',
    'host',
    'path',
    'status',
    'verdict',
    'reason',
    'decisionId',
    'revision',
    'model',
    'inputTokens',
    'outputTokens',
    'durationMs',
    'destination',
    'requestBytes',
    'responseBytes',
    'provider',
    'operation',
    'routeMatched',
    'stream',
    'maxTokens',
    'responseModel',
    'responseId',
    'finishReasons',
    'cachedInputTokens',
    'cacheCreationTokens',
    'reasoningTokens',
    'reservedTokens',
    'budgetOverrun',
    'providerFetches',
    'credentialsReplaced',
    'credentialsEchoed',
    'namespace',
    'worker',
    'traceId',
    'spanId',
    'costUsd',
    'costEstimated',
    'mcpMethod',
    'tool',
    'mcpResource',
    'mcpSession',
    'mcpProtocol',
  ]);
});

test('--workers is a small positive number, or absent', () => {
  expect(parseWorkers(undefined)).toBeUndefined();
  expect(parseWorkers('3')).toBe(3);
  for (const text of ['', '0', '-1', '1.5', 'two', '65', '1e1']) expect(() => parseWorkers(text), text).toThrow('not a number from 1 to 64');
});

test('--upstream-dns takes addresses with an optional port, and nothing else', () => {
  for (const text of ['10.0.0.2', '10.0.0.2:5353', '::1', '[::1]:53,10.0.0.2']) expect(parseUpstreamDns(text)).toBe(text);
  expect(parseUpstreamDns(undefined)).toBeUndefined();
  for (const text of ['', 'dns.example', '10.0.0.2:', '10.0.0.2:0', '10.0.0.2:65536', '10.0.0.2,', '10.0.0', '::1:x'])
    expect(() => parseUpstreamDns(text), text).toThrow('is not an address');
});

test('a line of a run cannot rewrite the terminal; streams differ in colour where there is one', () => {
  const { io } = capture();
  const line = {
    time: '2026-11-24T10:00:01.234567890Z',
    invocation: '5f0c2b1e-8a51-4d0c-9f0e-3b6a7d2c4e10',
    revision: 'r',
    worker: '0',
    component: 'worker',
    iostream: 'stderr',
    event: '',
    body: 'a\tb\u001b[2J\u0007\r',
    position: 1,
  };
  expect(logText(io, line, false)).toBe('10:00:01.234 5f0c2b1e err a\tb\\x07\\x0d\n');
  expect(logText(io, line, true)).toBe('10:00:01.234 err a\tb\\x07\\x0d\n');
  expect(logText({ ...io, terminal: true }, line, true)).toContain('\u001b[33m');
  expect(logText(io, { ...line, iostream: '', body: 'Succeeded.' }, true)).toBe('10:00:01.234 --- Succeeded.\n');
});
