import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '#lib';
import { startServer, type TestServer } from '../unit/apiserver/harness.ts';

/** The real kubectl with a server of its own. */

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  /** Its words when it failed; empty otherwise. */
  readonly stderr: string;
}

export interface Kubectl extends AsyncDisposable {
  readonly server: TestServer;
  /** A directory for files. */
  readonly home: string;
  /** Its output; throws when it fails. */
  (args: string | readonly string[], input?: string, env?: NodeJS.ProcessEnv): Promise<string>;
  /** How it ended. */
  outcome(args: string | readonly string[], input?: string, env?: NodeJS.ProcessEnv): Promise<Outcome>;
}

/** Words of a command line; what has blanks is given as a list. */
const words = (args: string | readonly string[]): readonly string[] => (typeof args === 'string' ? args.split(' ') : args);

export const startKubectl = async (options: Parameters<typeof startServer>[0] = {}): Promise<Kubectl> => {
  const server = await startServer(options);
  const home = mkdtempSync(join(tmpdir(), 'clrk-kubectl-'));
  const environment = { PATH: process.env['PATH'], HOME: home, KUBECONFIG: await server.kubeconfig() };
  const call = async (args: string | readonly string[], input = '', env: NodeJS.ProcessEnv = {}): Promise<string> =>
    (await run('kubectl', words(args), { env: { ...environment, ...env }, cwd: home, input, timeoutMs: 20_000 })).stdout;
  const outcome: Kubectl['outcome'] = (args, input, env) =>
    call(args, input, env).then(
      (stdout) => ({ code: 0, stdout, stderr: '' }),
      (error: unknown) => ({ code: Number(/exit code (\d+)/.exec(String(error))?.[1] ?? -1), stdout: '', stderr: String(error) }),
    );
  return Object.assign(call, {
    server,
    home,
    outcome,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      rmSync(home, { recursive: true, force: true });
    },
  });
};
