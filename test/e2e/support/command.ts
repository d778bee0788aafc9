import { spawn } from 'node:child_process';

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly netns?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string | undefined;
  readonly timeoutMs?: number;
  /** Called with all of stdout so far, whenever there is more. */
  readonly onStdout?: ((text: string) => void) | undefined;
}

/** Runs a command to its end, whatever its exit code, in a network namespace if one is given. */
export const command = (argv: readonly string[], { netns, env = {}, cwd, timeoutMs = 60_000, onStdout }: CommandOptions = {}): Promise<CommandResult> => {
  const [program, ...args] = netns ? ['nsenter', `--net=${netns}`, '--', ...argv] : argv;
  const child = spawn(program!, args, { env: { ...process.env, ...env }, cwd, stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs, killSignal: 'SIGKILL' });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
    onStdout?.(stdout);
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) =>
      signal ? reject(new Error(`${argv.join(' ')} was ended by ${signal}: ${stderr}`)) : resolve({ code: code ?? 1, stdout, stderr }),
    );
  });
};
