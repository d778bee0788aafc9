import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { mkdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { once } from 'node:events';
import { buildImage } from '#image';
import { ClrkError, describeExit, exited, spawnChild } from '#lib';
import { APP, createLab, setup, toolsDirOf, type Lab } from '#supervisor';
import type { CommandContext, CommandSpec } from '../command.ts';
import { paint, progress } from '../output.ts';
import { playDemo } from '../demo-stage.ts';
import { AGENTS, installAgent, QUICKSTART, type Language } from '../quickstart.ts';

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

const languageOf = (text: string): Language => {
  if (!Object.hasOwn(AGENTS, text)) throw new ClrkError('BadArgument', { what: `--runtime ${text} is not known.`, fix: 'Use node or python.' });
  return text as Language;
};

const play = async ({ io, global, flag, signal }: CommandContext): Promise<number> => {
  const language = languageOf(flag('runtime')!);
  if (process.getuid?.() !== 0) throw new ClrkError('NotRoot', { command: 'clrk demo' });
  const note = progress(io);
  const tools = toolsDirOf(global.dir);
  const dir = join(global.dir, 'demo');
  await setup(tools, note);
  await installAgent(language, note);
  note('image', 'start', `build quickstart/summarizer from ${relative(APP, AGENTS[language].dir)}`);
  const image = {
    store: join(dir, 'images'),
    name: 'quickstart/summarizer:latest',
    dir: AGENTS[language].dir,
    runtime: language,
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
  flags: [{ name: 'runtime', value: 'RUNTIME', default: 'node', help: 'language of the agent: node or python' }],
  examples: ['clrk demo', 'clrk demo --runtime python'],
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
