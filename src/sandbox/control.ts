import { createConnection } from 'node:net';
import { join } from 'node:path';

/** A process in a sandbox, as runsc tells it. */
export interface SandboxProcess {
  readonly pid: number;
  readonly ppid: number;
  readonly threads: readonly number[];
  readonly cmd: string;
}

const SIGNALS = { TERM: 15, KILL: 9 } as const;
export type SandboxSignal = keyof typeof SIGNALS;

/** An answer is a list of at most some hundred processes; more is no answer. */
const MAX_ANSWER = 16 * 1024 * 1024;
/** `Mode` of a signal: to every process of the sandbox. */
const TO_ALL = 1;
const CALL_TIMEOUT_MS = 2_000;

/**
 * A sandbox's own socket, which runsc's command line uses too: a call takes 1 ms instead of the 20 of a process. The protocol is
 * internal to runsc (one JSON object each way, no framing), so runsc is pinned and a test holds this module against it; callers
 * fall back to the command line. Source: gvisor.dev/gvisor/runsc/boot/controller.go and pkg/urpc.
 */
export class ControlSocket {
  readonly #path: string;
  readonly #id: string;

  /** `root`: runsc's state directory. */
  constructor(root: string, id: string) {
    this.#path = join(root, `runsc-${id}.sock`);
    this.#id = id;
  }

  /** Signals every process of the sandbox; throws when it does not run. */
  async signalAll(signal: SandboxSignal): Promise<void> {
    await this.#call('Signal', { CID: this.#id, Signo: SIGNALS[signal], PID: 0, Mode: TO_ALL });
  }

  async processes(): Promise<readonly SandboxProcess[]> {
    return (await this.#call<readonly SandboxProcess[] | null>('Processes', this.#id)) ?? [];
  }

  #call<T>(method: string, arg: unknown): Promise<T> {
    return new Promise((resolve, reject) => {
      const socket = createConnection({ path: this.#path, signal: AbortSignal.timeout(CALL_TIMEOUT_MS) });
      let text = '';
      socket.setEncoding('utf8');
      socket.once('connect', () => socket.write(JSON.stringify({ method: `containerManager.${method}`, arg })));
      socket.on('data', (chunk: string) => {
        text += chunk;
        const answer = text.endsWith('}') || text.endsWith('\n') ? complete<T>(text) : undefined;
        if (!answer && text.length <= MAX_ANSWER) return;
        socket.destroy();
        if (answer?.success) resolve(answer.result);
        else reject(new Error(`runsc ${method}: ${answer?.err ?? 'the answer is too long'}`));
      });
      socket.once('error', reject);
      socket.once('close', () => reject(new Error(`runsc ${method}: the sandbox ended`)));
    });
  }
}

interface Answer<T> {
  readonly success: boolean;
  readonly err: string;
  readonly result: T;
}

const complete = <T>(text: string): Answer<T> | undefined => {
  try {
    return JSON.parse(text) as Answer<T>;
  } catch {
    return undefined;
  }
};
