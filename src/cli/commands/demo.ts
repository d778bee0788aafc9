import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { once } from 'node:events';
import { buildImage } from '#image';
import { ClrkError, describeExit, exited, readIfExists, run, spawnChild, writeFileAtomic } from '#lib';
import { APP, createLab, setup, toolsDirOf, type Lab } from '#supervisor';
import type { CommandContext, CommandSpec } from '../command.ts';
import { paint, progress } from '../output.ts';
import { playDemo } from '../demo-stage.ts';

const QUICKSTART = join(APP, 'examples', 'quickstart');

/** `npm ci` of the quickstart's agent, unless its lock file was installed already. */
const installAgent = async (note: ReturnType<typeof progress>): Promise<void> => {
  const dir = join(QUICKSTART, 'agent');
  const lock = await readFile(join(dir, 'package-lock.json'), 'utf8');
  const stamp = join(dir, 'node_modules', '.clrk-installed');
  if ((await readIfExists(stamp)) === lock) return;
  note('agent packages', 'start', 'npm ci in examples/quickstart/agent');
  await run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: dir });
  await writeFileAtomic(stamp, lock);
  note('agent packages', 'done', 'the openai package');
};

/** Starts the provider fixture in its namespace; resolves when it listens, with the path of its CA certificate. */
const startFixture = async (lab: Lab, dir: string, key: string): Promise<AsyncDisposable & { ca: string }> => {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const main = join(APP, 'test', 'fixtures', 'openai', 'main.ts');
  const child = spawnChild(process.execPath, [main, '--listen', `${lab.fixtureIp}:443`, '--dir', dir, '--api-key', key], {
    netns: lab.fixture,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ready = once(createInterface({ input: child.stdout! }), 'line');
  const ended = exited(child).then((exit) => {
    throw new ClrkError('ChildFailed', { command: 'the provider fixture', outcome: describeExit(exit), stderr: 'it ended before it listened' });
  });
  await Promise.race([ready, ended]);
  ended.catch(() => {});
  return {
    ca: join(dir, 'ca.pem'),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await exited(child);
    },
  };
};

const play = async ({ io, global, signal }: CommandContext): Promise<number> => {
  if (process.getuid?.() !== 0) throw new ClrkError('NotRoot', { command: 'clrk demo' });
  const note = progress(io);
  const tools = toolsDirOf(global.dir);
  const dir = join(global.dir, 'demo');
  await setup(tools, note);
  await installAgent(note);
  note('image', 'start', 'build quickstart/summarizer from examples/quickstart/agent');
  const image = {
    store: join(dir, 'images'),
    name: 'quickstart/summarizer:latest',
    dir: join(QUICKSTART, 'agent'),
    runtime: 'node' as const,
    nodeBinary: process.execPath,
    signal,
  };
  const { digest } = await buildImage(image);
  note('image', 'done', `quickstart/summarizer ${digest.slice(0, 19)}`);

  await using lab = await createLab(join('/run/clrk', `demo-${process.pid}`), { signal });
  const key = `sk-demo-${randomBytes(18).toString('hex')}`;
  await using fixture = await startFixture(lab, join(dir, 'fixture'), key);
  note('provider', 'done', `a stand-in for api.openai.com at ${lab.fixtureIp}, real TLS, in a namespace without uplink`);

  // The stack runs in a namespace whose only neighbour is the fixture, so nothing of the demo can reach a real address.
  const argv = [join(APP, 'src', 'cmd', 'clrk.ts'), 'demo-stage', '--clrk-dir', dir, '--provider-ip', lab.fixtureIp, '--provider-ca', fixture.ca];
  const stage = spawnChild(process.execPath, argv, {
    netns: lab.stack,
    stdio: 'inherit',
    env: { ...process.env, CLRK_TOOLS: tools, CLRK_DEMO_KEY: key },
  });
  signal.addEventListener('abort', () => stage.kill('SIGTERM'), { once: true });
  return (await exited(stage)).code ?? 1;
};

export const demoCommand: CommandSpec = {
  path: ['demo'],
  summary: 'See it all once: set up, run an agent, show what left its sandbox',
  details:
    'Sets this machine up, starts a stack in a network namespace without uplink, builds the quickstart image, triggers the agent over HTTP with a document,\n' +
    'and prints its answer and the records of everything that left the sandbox. The provider is a stand-in that speaks the real protocol over real TLS.',
  examples: ['clrk demo'],
  run: play,
};

export const demoStageCommand: CommandSpec = {
  path: ['demo-stage'],
  hidden: true,
  summary: 'The part of the demo that runs inside its network namespace',
  flags: [
    { name: 'provider-ip', value: 'IP', help: 'address of the provider fixture' },
    { name: 'provider-ca', value: 'FILE', help: 'its CA certificate' },
  ],
  examples: [],
  run: ({ io, global, flag, signal }) =>
    playDemo({
      io,
      dir: global.dir,
      tools: toolsDirOf(global.dir),
      manifests: join(QUICKSTART, 'manifests'),
      document: join(QUICKSTART, 'document.txt'),
      provider: { ip: flag('provider-ip')!, ca: flag('provider-ca')!, key: io.env['CLRK_DEMO_KEY']! },
      signal,
      title: (text) => io.out(`\n${paint(io, 'bold', text)}\n`),
    }),
};
