import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { mkdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { once } from 'node:events';
import { buildImage } from '#image';
import { ClrkError, describeExit, exited, spawnChild } from '#lib';
import { APP, createLab, enterPrivateMounts, setup, toolsDirOf, type Lab } from '#supervisor';
import type { CommandContext, CommandSpec } from '../command.ts';
import { paint, progress } from '../output.ts';
import { isServed, printUses, serveInside, serveOutside } from '../demo-keep.ts';
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

const PROVIDERS = ['fixture', 'openai'];
const DOCUMENT = join(QUICKSTART, 'document.txt');

/** The key for the real provider; throws before anything is set up when it is wanted and missing. */
const realKey = (provider: string, env: NodeJS.ProcessEnv): string | undefined => {
  if (!PROVIDERS.includes(provider))
    throw new ClrkError('BadArgument', { what: `--provider ${provider} is not known.`, fix: `Use ${PROVIDERS.join(' or ')}.` });
  if (provider === 'fixture') return undefined;
  const key = env['OPENAI_API_KEY']?.trim();
  if (!key)
    throw new ClrkError('BadArgument', {
      what: '--provider openai needs a key in OPENAI_API_KEY.',
      fix: 'Run export OPENAI_API_KEY=sk-... first; sudo needs -E to pass it on.',
    });
  return key;
};

const stageOptions = ({ io, signal }: CommandContext, dir: string, tools: string) => ({
  io,
  dir,
  tools,
  manifests: join(QUICKSTART, 'manifests'),
  document: DOCUMENT,
  signal,
  title: (text: string) => io.out(`\n${paint(io, 'bold', text)}\n`),
});

/** With the real provider: the stack runs where names resolve and the provider can be reached, which is this namespace. */
const playReal = (context: CommandContext, dir: string, tools: string, key: string): Promise<number> => {
  const { io, signal, has } = context;
  return playDemo({
    ...stageOptions(context, dir, tools),
    provider: { key },
    ...(has('keep') && {
      keep: async (stack) => {
        printUses(io, dir, stack, stack.ingress, DOCUMENT);
        if (!signal.aborted) await once(signal, 'abort');
      },
    }),
  });
};

/** With the stand-in: the stack runs in a namespace whose only neighbour it is, so nothing of the demo can reach a real address. */
const playInLab = async ({ io, signal, has }: CommandContext, dir: string, tools: string): Promise<number> => {
  const labDir = join('/run/clrk', `demo-${process.pid}`);
  await using lab = await createLab(labDir, { signal });
  const key = `sk-demo-${randomBytes(18).toString('hex')}`;
  await using fixture = await startFixture(lab, join(dir, 'fixture'), key);
  progress(io)('provider', 'done', `a stand-in for api.openai.com at ${lab.fixtureIp}, real TLS, in a namespace without uplink`);

  const keep = has('keep') ? ['--relay', labDir] : [];
  const argv = [join(APP, 'src', 'cmd', 'clrk.ts'), 'demo-stage', '--clrk-dir', dir, '--provider-ip', lab.fixtureIp, '--provider-ca', fixture.ca, ...keep];
  const stage = spawnChild(process.execPath, argv, {
    netns: lab.stack,
    stdio: 'inherit',
    env: { ...process.env, CLRK_TOOLS: tools, CLRK_DEMO_KEY: key },
  });
  const ended = exited(stage);
  const stop = (): boolean => stage.kill('SIGTERM');
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  const kept = has('keep') && (await isServed(labDir, ended));
  if (kept) {
    try {
      await using urls = await serveOutside(labDir, dir);
      printUses(io, dir, urls, kept, DOCUMENT);
      return (await ended).code ?? 1;
    } catch (error) {
      stop();
      await ended;
      throw error;
    }
  }
  return (await ended).code ?? 1;
};

const play = async (context: CommandContext): Promise<number> => {
  const { io, global, flag, signal } = context;
  const language = languageOf(flag('runtime')!);
  const key = realKey(flag('provider')!, io.env);
  if (key !== undefined) await enterPrivateMounts('clrk demo');
  if (process.getuid?.() !== 0) throw new ClrkError('NotRoot', { command: 'clrk demo' });
  const note = progress(io);
  const tools = toolsDirOf(global.dir);
  const dir = join(global.dir, 'demo');
  await setup(tools, note);
  await installAgent(language, note);
  note('image', 'start', `build quickstart/summarizer from ${relative(APP, AGENTS[language].dir)}`);
  const image = { store: join(dir, 'images'), name: 'quickstart/summarizer:latest', dir: AGENTS[language].dir };
  const { digest } = await buildImage({ ...image, runtime: language, nodeBinary: process.execPath, signal });
  note('image', 'done', `quickstart/summarizer ${digest.slice(0, 19)}`);
  return key === undefined ? await playInLab(context, dir, tools) : await playReal(context, dir, tools, key);
};

export const demoCommand: CommandSpec = {
  path: ['demo'],
  summary: 'See it all once: set up, run an agent, show what left its sandbox',
  details:
    'Sets this machine up, starts a stack in a network namespace without uplink, builds the quickstart image, triggers the agent over HTTP with a document,\n' +
    'and prints its answer and the records of everything that left the sandbox. The provider is a stand-in that speaks the real protocol over real TLS.\n' +
    'With --provider openai the stack runs in the namespace of this machine and calls api.openai.com with the key in OPENAI_API_KEY.',
  flags: [
    { name: 'runtime', value: 'RUNTIME', default: 'node', help: 'language of the agent: node or python', complete: ['node', 'python'] },
    { name: 'provider', value: 'PROVIDER', default: 'fixture', help: 'fixture (the stand-in) or openai (the real one)', complete: ['fixture', 'openai'] },
    { name: 'keep', help: 'keep the stack until Ctrl-C, its API and ingress on the loopback of this machine' },
  ],
  examples: ['clrk demo', 'clrk demo --runtime python', 'clrk demo --keep', 'OPENAI_API_KEY=sk-... clrk demo --provider openai'],
  run: play,
};

export const demoStageCommand: CommandSpec = {
  path: ['demo-stage'],
  hidden: true,
  summary: 'The part of the demo that runs inside its network namespace',
  flags: [
    { name: 'provider-ip', value: 'IP', help: 'address of the provider fixture' },
    { name: 'provider-ca', value: 'FILE', help: 'its CA certificate' },
    { name: 'relay', value: 'DIR', help: 'keep the stack, and serve its ports as Unix sockets here' },
  ],
  examples: [],
  run: async (context) => {
    await enterPrivateMounts('clrk demo');
    const { io, global, flag, signal } = context;
    const relay = flag('relay');
    return playDemo({
      ...stageOptions(context, global.dir, toolsDirOf(global.dir)),
      provider: { key: io.env['CLRK_DEMO_KEY']!, fixture: { ip: flag('provider-ip')!, ca: flag('provider-ca')! } },
      ...(relay && { keep: (stack) => serveInside(relay, stack, signal) }),
    });
  },
};
