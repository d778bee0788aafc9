import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { workerLayout } from '#model';
import { eventually, showLogOnFailure, startStack, type Exchange, type TestStack } from './harness.ts';
import { probeAgent, type Manifest } from './support/manifests.ts';

/** Sandboxes started ahead of their runs, on the whole stack. */

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => stack));

const remove = (agent: string): Promise<unknown> => stack.api('DELETE', `/apis/clrk.apoxy.dev/v1alpha1/namespaces/default/taskagents/${agent}`);

/** Waits until every worker keeps `count` sandboxes of the agent ready. */
const kept = (agent: string, count: number) =>
  eventually(
    `${agent} has ${count} warm sandboxes`,
    async () => {
      const { status } = await stack.get('taskagents', agent);
      if (status?.['warmSandboxes'] !== count) throw new Error(`status: ${JSON.stringify(status)}`);
      return true;
    },
    40_000,
  );

/** Which sandbox a run had: name and address by its hosts file. A cold one is named after its invocation. */
const sandboxOf = async (agent: string): Promise<{ readonly name: string; readonly warm: boolean }> => {
  const { invocation, results } = await stack.probe(agent, { read: '/etc/hosts' });
  const name = String(results[0]).trim().split('\n').at(-1)!;
  return { name, warm: !name.includes(invocation.slice(0, 8)) };
};

/** Triggers the agent until a run finds a sandbox that waits for it. */
const runsWarm = (agent: string) => eventually(`${agent} runs warm`, async () => (await sandboxOf(agent)).warm || undefined, 40_000);

const recordsOf = (agent: string, complete: (records: readonly Exchange[]) => boolean): Promise<readonly Exchange[]> =>
  eventually(`the records of ${agent} are complete`, async () => {
    const { stdout } = await stack.clrk(['egress', 'log', '--agent', agent, '-o', 'json']);
    const records = stdout
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Exchange);
    if (!complete(records)) throw new Error(`records: ${JSON.stringify(records)}`);
    return records;
  });

const warmAgent = (name: string, spec: Record<string, unknown> = {}, template: Record<string, unknown> = {}): Manifest =>
  probeAgent(name, { warmPoolSize: 1, ...spec }, template);

/** Does something as soon as it runs; then it answers like any agent. */
const hasty = (name: string, first: string): Manifest => {
  const then = `const text = require('node:fs').readFileSync(0, 'utf8'); process.stdout.write('event ' + JSON.parse(text).data.n); process.exit(0);`;
  return warmAgent(name, {}, { command: ['node', '-e', `(async () => { ${first}; ${then} })()`] });
};

test('a run takes a sandbox that waits, each another one, and what is taken is replaced; a run of it has its own egress', async () => {
  await stack.apply(warmAgent('ready', { warmPoolSize: 2 }));
  await kept('ready', 2);
  const condition = await stack.condition('taskagents', 'ready', 'WarmPool', 'True');
  expect(condition.reason).toBe('Kept');
  const { status } = await stack.get('taskagents', 'ready');
  const revision = await eventually('the revision counts them', async () => {
    const object = await stack.get('agentsandboxrevisions', String(status!['latestReadyRevisionName']));
    const [worker] = (object.status?.['workers'] ?? []) as { warmCount?: number }[];
    return worker?.warmCount === 2 ? object : undefined;
  });
  expect(revision.status!['workers']).toMatchObject([{ podName: '0', warmCount: 2 }]);

  const sandboxes = [];
  for (let n = 0; n < 3; n++) {
    sandboxes.push(await sandboxOf('ready'));
    await kept('ready', 2);
  }
  expect(sandboxes).toMatchObject([{ warm: true }, { warm: true }, { warm: true }]);
  expect(new Set(sandboxes.map(({ name }) => name)).size).toBe(3);

  const body = JSON.stringify({ model: 'gpt-4.1-mini', max_completion_tokens: 10, messages: [{ role: 'user', content: 'Hello.' }] });
  const call = { url: 'https://api.openai.com/v1/chat/completions', method: 'POST', headers: { 'content-type': 'application/json' }, body };
  const { invocation, results } = await stack.probe('ready', { fetch: call }, { fetch: { url: 'https://denied.example/' } });
  expect(results).toMatchObject([{ status: 200 }, { status: 403 }]);
  const records = await stack.egressLog(invocation, (all) => all.length >= 3);
  expect(records.map(({ agent, verdict, reason }) => [agent, verdict, reason])).toEqual(
    expect.arrayContaining([
      ['ready', 'Allowed', 'Allowed'],
      ['ready', 'Denied', 'NoRoute'],
    ]),
  );
  expect((await recordsOf('ready', () => true)).filter(({ reason }) => reason === 'NotClaimed')).toEqual([]);
});

test('ends, cancels and timeouts of a warm run are those of a cold one', async () => {
  await kept('ready', 2);
  const failed = await stack.invoke('ready', { steps: [{ stdout: 'before' }, { exit: 7 }] });
  expect(failed.status).toBe(502);
  expect(failed.json()).toMatchObject({ error: { reason: 'ExitCode', exitCode: 7 }, output: 'before' });
  await stack.apply(warmAgent('slow', { timeout: '1s' }));
  await kept('slow', 1);
  const late = await stack.invoke('slow', { steps: [{ stdout: 'begun' }, { sleep: 60_000 }] });
  expect(late.status).toBe(504);
  expect(late.json()).toMatchObject({ error: { reason: 'Timeout' }, output: 'begun' });
  const large = await stack.invoke('ready', { steps: [{ stdout: 'x'.repeat(3 * 1024 * 1024) }] });
  expect([large.status, large.text.length]).toEqual([200, 3 * 1024 * 1024]);
});

test('a sandbox that dies while it waits costs its run nothing but time, and is replaced', async () => {
  await kept('ready', 2);
  await kept('slow', 1);
  // A status lags by up to a second: what it counts may just have been taken.
  const waiting = await eventually('three wait', async () => {
    const pids = await stack.pids('runsc-sandbox');
    return pids.length === 3 ? pids : undefined;
  });
  for (const pid of waiting) process.kill(pid, 'SIGKILL');
  const answers = await Promise.all([sandboxOf('ready'), sandboxOf('ready'), sandboxOf('ready')]);
  expect(new Set(answers.map(({ name }) => name)).size).toBe(3);
  await runsWarm('ready');
  await remove('slow');
});

test('an agent that does not wait for its event is refused what it tries, says so, and runs cold', async () => {
  const dial = (host: string): string =>
    `await new Promise((resolve) => require('node:net').connect({ host: '${host}', port: 443 }).on('error', resolve).on('close', resolve).on('data', () => {}))`;
  await stack.apply(hasty('writer', `console.log('hello')`), hasty('asker', dial('api.openai.com')), hasty('dialler', dial('203.0.113.7')));
  const said = { writer: 'standard output', asker: 'api.openai.com', dialler: '203.0.113.7' };
  for (const [agent, what] of Object.entries(said)) {
    const { reason, message } = await eventually(`${agent} starts before its event`, async () => {
      const condition = await stack.condition('taskagents', agent, 'WarmPool', 'False', 500);
      return condition.reason === 'Starting' ? undefined : condition;
    });
    expect([reason, message]).toEqual(['StartsBeforeEvent', expect.stringContaining(what)]);
  }
  const text = async (agent: string): Promise<string> => (await stack.invoke(agent, { n: agent })).text;
  expect(await text('writer')).toBe('hello\nevent writer');
  expect(await text('asker')).toBe('event asker');
  expect((await stack.get('taskagents', 'writer')).status!['warmSandboxes']).toBe(0);

  for (const [agent, protocol] of [
    ['asker', 'dns'],
    ['dialler', 'tcp'],
  ] as const) {
    const records = await recordsOf(agent, (all) => all.some(({ reason }) => reason === 'NotClaimed'));
    const refused = records.filter(({ reason }) => reason === 'NotClaimed');
    expect(refused[0]).toMatchObject({ agent, invocation: '', gateway: 'default/default', verdict: 'Denied', protocol });
  }
  // What was written without a run belongs to none: it is in the log.
  expect(await readFile(stack.logFile, 'utf8')).toContain('stdout without a run');
  for (const agent of Object.keys(said)) await remove(agent);
});

test('a sandbox that waits reaches no gateway, whatever it dials', async () => {
  // It dials after it came to rest: admitted name by address, deny slice, any other address, metadata.
  const targets = ['198.18.0.1', '198.18.8.1', '203.0.113.9', '198.19.255.1'];
  const late = `setTimeout(() => { for (const host of ${JSON.stringify(targets)}) require('node:net').connect({ host, port: 443 }).on('error', () => {}) }, 1500)`;
  const read = `process.stdin.on('data', () => {}).on('end', () => { console.log('ran'); process.exit(0) })`;
  await stack.apply(warmAgent('sleeper', {}, { command: ['node', '-e', `${late}; ${read}`] }));
  const records = await recordsOf('sleeper', (all) => all.length >= targets.length);
  expect(records.map(({ verdict, reason, invocation }) => `${verdict} ${reason} ${invocation}`)).toEqual(targets.map(() => 'Denied NotClaimed '));
  await eventually(
    'its condition says so',
    async () => (await stack.condition('taskagents', 'sleeper', 'WarmPool', 'False')).reason === 'StartsBeforeEvent' || undefined,
  );
  expect((await stack.invoke('sleeper', {})).text).toBe('ran\n');
  await remove('sleeper');
});

/** Waits until none of the sandboxes of before is left. */
const replaced = (before: readonly number[]) =>
  eventually('others are there', async () => (await stack.pids('runsc-sandbox')).every((pid) => !before.includes(pid)) || undefined, 40_000);

test('a changed template drains what waited; so does age', async () => {
  await kept('ready', 2);
  const before = await stack.pids('runsc-sandbox');
  const env = [{ name: 'VERSION', value: '2' }];
  await stack.apply(warmAgent('ready', { warmPoolSize: 2 }, { env }));
  await replaced(before);
  await kept('ready', 2);
  const { results } = await stack.probe('ready', { env: true });
  expect(results[0]).toMatchObject({ VERSION: '2' });
  await kept('ready', 2);
  const young = await stack.pids('runsc-sandbox');
  await stack.apply(warmAgent('ready', { warmPoolSize: 1, warmPoolIdleTTL: '1s' }, { env }));
  await replaced(young);
  const younger = await eventually('there is another one', async () => {
    const pids = await stack.pids('runsc-sandbox');
    return pids.length > 0 ? pids : undefined;
  });
  await replaced(younger);
  await remove('ready');
  await eventually('none is wanted, none is there', async () => (await stack.pids('runsc-sandbox')).length === 0 || undefined);
});

test('the pool shares its own among agents, within half of what a worker may run', async () => {
  const pool = await stack.get('workerpools', 'default');
  await stack.apply({ ...pool, metadata: { name: 'default', namespace: 'default' }, spec: { ...pool.spec, warmPool: 2, maxExecutionsPerWorker: 6 } });
  await Promise.all([kept('probe', 1), kept('summarizer', 1)]);
  await stack.apply(warmAgent('ready', { warmPoolSize: 9 }));
  await kept('ready', 3);
  const { reason, message } = await eventually('it is clamped', async () => {
    const condition = await stack.condition('taskagents', 'ready', 'WarmPool', 'True');
    return condition.reason === 'Clamped' ? condition : undefined;
  });
  expect([reason, message]).toEqual(['Clamped', expect.stringContaining('3 of 9')]);
  expect((await stack.condition('taskagents', 'probe', 'WarmPool', 'False')).reason).toBe('Clamped');
  expect((await stack.condition('workerpools', 'default', 'WarmPool', 'False')).reason).toBe('Clamped');
});

test('egress restarted: what waited is replaced; a stopped stack leaves nothing of it', async () => {
  await kept('ready', 3);
  const before = await stack.pids('runsc-sandbox');
  await stack.kill('egress');
  await replaced(before);
  await runsWarm('ready');
  const bindings = await readFile(workerLayout(stack.state, stack.run, '0').bindings, 'utf8');
  expect(bindings).toContain('"event":"park"');
  await stack.stop(); // checks that nothing is left
});
