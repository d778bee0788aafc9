import type { ChildProcess } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readIfExists, run as runCommand, spawnChild, type RunCommand } from '#lib';
import { inGroup } from './cgroup/index.ts';
import { ControlSocket, type SandboxSignal } from './control.ts';

export interface RunscLimits {
  /** Files of the control groups it joins before anything else. */
  readonly joinFiles: readonly string[];
  /** Bytes that can be written to the root file system. */
  readonly storageBytes: number;
}

/** runsc's command line, and nothing else of gVisor. `root` is its state directory; keep it under 80 bytes. */
export class Runsc {
  readonly #binary: string;
  readonly #root: string;

  readonly #runCommand: RunCommand;

  /** `run`: how its short commands are run. */
  constructor(binary: string, root: string, run: RunCommand = runCommand) {
    this.#binary = binary;
    this.#root = root;
    this.#runCommand = run;
  }

  /** Only what it needs: the environment of a runtime that fails is printed in crash output. */
  get #env(): NodeJS.ProcessEnv {
    return { PATH: process.env['PATH'] };
  }

  /**
   * Runs a bundle in the foreground: the child's exit code is the process's own (128 + signal when one ended it), and
   * its stdio is the process's. runsc's own messages go to `<bundle>/runsc.log`. The sandbox dies with the child.
   */
  run(id: string, bundle: string, { joinFiles, storageBytes }: RunscLimits): ChildProcess {
    const flags = ['--platform=systrap', '--network=sandbox', `--overlay2=root:memory,size=${storageBytes}`, '--ignore-cgroups'];
    const log = [`--log=${join(bundle, 'runsc.log')}`, '--log-format=json'];
    const [command, ...args] = inGroup(joinFiles, [this.#binary, `--root=${this.#root}`, ...flags, ...log, 'run', `--bundle=${bundle}`, id]);
    return spawnChild(command, args, { env: this.#env, stdio: ['pipe', 'pipe', 'pipe'] });
  }

  /** Why runsc could not start a bundle, or undefined when it did. */
  async startError(bundle: string): Promise<string | undefined> {
    const lines = ((await readIfExists(join(bundle, 'runsc.log'))) ?? '').split('\n').filter(Boolean);
    for (const line of lines) {
      let entry: { level?: string; msg?: string };
      try {
        entry = JSON.parse(line) as typeof entry;
      } catch {
        continue; // several processes write this file; lines of theirs may run into each other
      }
      const { level, msg } = entry;
      if ((level === 'error' || level === 'fatal') && msg?.startsWith('running container: ')) return msg.split(': ').slice(1).join(': ');
    }
    return undefined;
  }

  /** Signals every process of a sandbox; throws when it does not run. */
  async signalAll(id: string, signal: SandboxSignal): Promise<void> {
    try {
      await this.control(id).signalAll(signal);
    } catch {
      // it speaks another protocol, is too busy to answer, or does not run: the command line knows
      await this.#signalAllByCommand(id, signal);
    }
  }

  /** The socket of a sandbox that runs. */
  control(id: string): ControlSocket {
    return new ControlSocket(this.#root, id);
  }

  async #signalAllByCommand(id: string, signal: SandboxSignal): Promise<void> {
    await this.#runCommand(this.#binary, [`--root=${this.#root}`, 'kill', '--all', id, signal], { timeoutMs: 2_000 });
  }

  /** Ends a sandbox and forgets it; fine when there is nothing left of it. */
  async delete(id: string): Promise<void> {
    const left = (await readdir(this.#root).catch(() => [])).some((name) => name.includes(id));
    if (left) await this.#runCommand(this.#binary, [`--root=${this.#root}`, 'delete', '--force', id], { timeoutMs: 10_000 });
  }

  /** Ids of all sandboxes with state, running or not. */
  async list(): Promise<string[]> {
    const { stdout } = await runCommand(this.#binary, [`--root=${this.#root}`, 'list', '--format=json'], { env: this.#env, timeoutMs: 10_000 });
    return ((JSON.parse(stdout) as { id: string }[] | null) ?? []).map(({ id }) => id);
  }
}
