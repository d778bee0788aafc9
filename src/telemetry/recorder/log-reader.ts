import { basename } from 'node:path';
import { Tail } from '#lib';
import type { LogRecord, StdioLine } from '#model';
import type { Checkpoint } from './checkpoint.ts';
import { afterTear, parseStdio } from './lines.ts';
import type { Source } from './pipeline.ts';
import { plain, redactLine } from './redact.ts';

const READ_BYTES = 1024 * 1024;
/** Runs whose numbers are followed at once; beyond, those that were quiet longest are forgotten, and with them what they miss. */
const MAX_RUNS = 2_000;

/** Where a restart goes on, and the number each run is at. */
export interface LogCheckpoint extends Checkpoint {
  readonly numbers: readonly (readonly [run: string, number: number])[];
}

/**
 * Lines of runs (`stdio.jsonl`) to records. The lines of a run are numbered: where numbers are missing (the file was put
 * aside and removed before it was read, or could not be written) a record says how many, under the id of the last of them.
 */
export class LogReader implements Source<LogRecord> {
  readonly #tail: Tail;
  readonly #worker: string;
  readonly #numbers: Map<string, number>;
  #malformed = 0;

  constructor(options: { readonly path: string; readonly worker: string; readonly checkpoint?: LogCheckpoint | undefined }) {
    const { path, worker, checkpoint } = options;
    this.#tail = new Tail(path, checkpoint?.files[basename(path)]);
    this.#worker = worker;
    this.#numbers = new Map(checkpoint?.numbers);
  }

  async read(): Promise<{ readonly records: readonly LogRecord[]; readonly drained: boolean }> {
    const { lines, drained } = await this.#tail.read(READ_BYTES);
    return { records: lines.flatMap(({ text }) => this.#records(text)), drained };
  }

  checkpoint(): LogCheckpoint {
    const { path, mark } = this.#tail;
    return { version: 1, files: mark ? { [basename(path)]: mark } : {}, numbers: [...this.#numbers] };
  }

  unusable(): Readonly<Record<string, number>> {
    return { malformed: this.#malformed, oversized: this.#tail.oversized };
  }

  #records(text: string): readonly LogRecord[] {
    let line = parseStdio(text);
    if (!line) {
      this.#malformed++;
      const rest = afterTear(text);
      line = rest === undefined ? undefined : parseStdio(rest);
    }
    if (!line) return [];
    const record = recordOf(line, this.#worker);
    const missing = this.#missing(line);
    if (missing <= 0) return [record];
    const [run, number] = split(line.id);
    const body = `(${missing} lines are missing here: they could not be written, or were not read in time)`;
    return [{ ...record, id: `${run}-${number - 1}`, iostream: '', event: 'dropped', body }, record];
  }

  /** How many lines of the run should have come before this one and did not. */
  #missing({ id, event }: StdioLine): number {
    const [run, number] = split(id);
    const before = this.#numbers.get(run) ?? 0;
    this.#numbers.delete(run);
    if (event === 'ended') return number - before - 1;
    this.#numbers.set(run, Math.max(before, number));
    if (this.#numbers.size > MAX_RUNS) this.#numbers.delete(this.#numbers.keys().next().value!);
    return number - before - 1;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tail[Symbol.asyncDispose]();
  }
}

const split = (id: string): readonly [run: string, number: number] => {
  const at = id.lastIndexOf('-');
  return [id.slice(0, at), Number(id.slice(at + 1))];
};

const recordOf = (line: StdioLine, worker: string): LogRecord => ({
  id: plain(line.id),
  time: line.time,
  namespace: plain(line.namespace),
  agent: plain(line.agent),
  revision: plain(line.revision),
  invocation: plain(line.invocation),
  traceId: plain(line.traceId),
  spanId: plain(line.spanId),
  worker,
  component: 'worker',
  iostream: line.iostream,
  event: line.event,
  body: redactLine(line.body),
});
