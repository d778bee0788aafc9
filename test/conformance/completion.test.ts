import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '#lib';
import { GROUPS } from '../../src/cli/commands/index.ts';
import { agent, ROOT, startServer, type TestServer } from '../unit/apiserver/harness.ts';

/** The completion scripts in the shells they are for: keys are typed into an interactive shell, or asked of it. */

const root = join(import.meta.dirname, '..', '..');
let server: TestServer;
let home: string;
let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  server = await startServer();
  const admin = await server.client();
  for (const name of ['alpha', 'beta']) await admin.call('POST', `${ROOT}/taskagents`, agent(name));
  home = mkdtempSync(join(tmpdir(), 'clrk-shells-'));
  // Completes as clrk does; anything else only says what was typed.
  const shim = `#!/bin/sh\ncase $1 in __complete|completion) exec '${process.execPath}' '${join(root, 'src', 'cmd', 'clrk.ts')}' "$@";; esac\necho "<ran $*>"\n`;
  writeFileSync(join(home, 'clrk'), shim);
  chmodSync(join(home, 'clrk'), 0o755);
  writeFileSync(join(home, 'agent.yaml'), '');
  env = { PATH: `${home}:${process.env['PATH']}`, HOME: home, TERM: 'dumb', KUBECONFIG: await server.kubeconfig(), LANG: 'C.UTF-8' };
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(home, { recursive: true, force: true });
});

/** What each typed line (tabs are the key TAB) becomes. */
const LINES: readonly (readonly [typed: string, ran: string])[] = [
  ['clrk agen\tli\t', 'agents list'],
  ['clrk agents run-task al\t', 'agents run-task alpha'],
  ['clrk delete taskagent/b\t', 'delete taskagent/beta'],
  ['clrk get ta --outp\tya\t', 'get ta --output yaml'],
  ['clrk get ta --output=ya\t', 'get ta --output=yaml'],
  ['clrk validate -f agent.\t', 'validate -f agent.yaml'],
];

/** Runs an interactive shell on a terminal of its own and types into it. */
const typed = async (shell: string, first: string): Promise<string> => {
  const input = `${first}\n${LINES.map(([line]) => line).join('\n')}\nexit\n`;
  const { stdout } = await run('script', ['--quiet', '--return', '--command', shell, '/dev/null'], { env, cwd: home, input, timeoutMs: 60_000 });
  return stdout;
};

const ran = (output: string): string[] => [...output.matchAll(/^.*<ran (.*?) ?>/gm)].map(([, words]) => words!);
const expected = LINES.map(([, words]) => words);

test('bash', async () => {
  const output = await typed('bash --norc --noprofile -i', 'source <(clrk completion bash)');
  expect(ran(output)).toEqual(expected);
}, 60_000);

test('zsh', async () => {
  const output = await typed('zsh -f -i', 'autoload -Uz compinit; compinit -D -u; source <(clrk completion zsh)');
  expect(ran(output)).toEqual(expected);
}, 60_000);

test('fish', async () => {
  const asked = (line: string): string => `echo asked; complete -C ${JSON.stringify(line)}`;
  const lines = [
    'clrk agen',
    'clrk agents run-task al',
    'clrk delete taskagent/b',
    'clrk get ta --output ya',
    'clrk get ta --output=ya',
    'clrk validate -f agent.',
  ];
  const script = `clrk completion fish | source; ${lines.map(asked).join('; ')}`;
  const { stdout } = await run('fish', ['--no-config', '-c', script], { env, cwd: home, timeoutMs: 60_000 });
  const offers = stdout.split('asked\n').slice(1);
  expect(offers.map((offer) => offer.split('\n')[0])).toEqual([
    `agents\t${GROUPS['agents']!.summary}`,
    'alpha\tTaskAgent',
    'taskagent/beta\tTaskAgent',
    'yaml',
    '--output=yaml',
    'agent.yaml',
  ]);
}, 60_000);
