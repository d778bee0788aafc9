import { createConnection } from 'node:net';
import { join } from 'node:path';

/** A process in a sandbox, as runsc tells it. */
export interface SandboxProcess {
  readonly pid: number;
  readonly ppid: number;
  readonly threads: readonly number[];
  readonly cmd: string;
}

export interface SandboxStats {
  /** Processes inside. */
  readonly pids: number;
  readonly memoryBytes: number;
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

  /** Resolves when the first process has ended: its exit code, 128 + signal when one ended it. Throws when it has not started. */
  async wait(signal: AbortSignal): Promise<number> {
    const status = await this.#call<number>('Wait', this.#id, signal);
    return (status & 0x7f) === 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f);
  }

  /** Signals every process of the sandbox; throws when it does not run. */
  async signalAll(signal: SandboxSignal): Promise<void> {
    await this.#call('Signal', { CID: this.#id, Signo: SIGNALS[signal], PID: 0, Mode: TO_ALL });
  }

  async processes(): Promise<readonly SandboxProcess[]> {
    return (await this.#call<readonly SandboxProcess[] | null>('Processes', this.#id)) ?? [];
  }

  async stats(): Promise<SandboxStats> {
    const { event } = await this.#call<RawEvent>('Event', this.#id);
    return { pids: event.data.pids?.current ?? 0, memoryBytes: event.data.memory?.usage?.usage ?? 0 };
  }

  #call<T>(method: string, arg: unknown, signal = AbortSignal.timeout(CALL_TIMEOUT_MS)): Promise<T> {
    return new Promise((resolve, reject) => {
      const socket = createConnection({ path: this.#path, signal });
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

interface RawEvent {
  readonly event: { readonly data: { readonly pids?: { readonly current?: number }; readonly memory?: { readonly usage?: { readonly usage?: number } } } };
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
