import { readdir } from 'node:fs/promises';
import { basename } from 'node:path';
import { systemCode, Tail, type Clock, type Line } from '#lib';
import type { ExchangeRecord, WorkerLayout } from '#model';
import { Bindings } from './bindings.ts';
import type { Checkpoint, ExchangeCheckpoint } from './checkpoint.ts';
import { Join } from './join.ts';
import { afterTear, parseAccess, parseBinding, parseEgress } from './lines.ts';
import type { Source } from './pipeline.ts';

const READ_BYTES = 1024 * 1024;
const ENVOY = /^envoy-(\d+)$/;

/**
 * Reads the record files of one worker and makes records of them.
 *
 * The order of reading carries the join: an access line is written after the engine's line of its id and after the bind
 * of its address, so access logs are read first, then egress.jsonl and bindings.jsonl to their ends; what explains a line
 * is then always known before the line is joined.
 */
export class RecordReader implements Source<ExchangeRecord> {
  readonly #paths: WorkerLayout;
  readonly #clock: Clock;
  readonly #bindings = new Bindings();
  readonly #join: Join;
  readonly #access = new Map<string, Tail>();
  readonly #egressLog: Tail;
  readonly #bindingLog: Tail;
  readonly #marks: Checkpoint['files'];
  /** Lines that are no line of their file. */
  malformed = 0;

  constructor(options: {
    readonly layout: WorkerLayout;
    readonly worker: string;
    readonly clock: Clock;
    readonly checkpoint?: ExchangeCheckpoint | undefined;
  }) {
    const { layout, worker, clock, checkpoint } = options;
    this.#paths = layout;
    this.#clock = clock;
    this.#marks = checkpoint?.files ?? {};
    for (const line of checkpoint?.bindings ?? []) this.#bindings.add(line, { inode: 0, offset: 0 });
    this.#join = new Join(worker, this.#bindings, checkpoint?.join, clock.monotonic());
    this.#egressLog = this.#tail(layout.egressLog);
    this.#bindingLog = this.#tail(layout.bindings);
  }

  get oversized(): number {
    return [...this.#access.values(), this.#egressLog, this.#bindingLog].reduce((sum, tail) => sum + tail.oversized, 0);
  }

  /** `overflow`: admitted requests that are no longer followed (see Join). */
  unusable(): Readonly<Record<string, number>> {
    return { malformed: this.malformed, oversized: this.oversized, overflow: this.#join.overflow };
  }

  /** One round through every file. `drained`: nothing more is there to read now. */
  async read(): Promise<{ readonly records: readonly ExchangeRecord[]; readonly drained: boolean }> {
    await this.#discover();
    const read = await Promise.all([...this.#access.values()].map((tail) => tail.read(READ_BYTES)));
    await this.#readAll(this.#egressLog, parseEgress, (line) => this.#join.egress(line, this.#clock.monotonic()));
    await this.#readAll(this.#bindingLog, parseBinding, (line, { inode, offset }) => this.#bindings.add(line, { inode, offset }));
    for (const { lines } of read) this.#parse(lines, parseAccess, (line) => this.#join.access(line, this.#clock.monotonic()));
    const drained = read.every((part) => part.drained);
    const records = this.#join.settle(this.#clock.monotonic(), drained);
    if (drained && this.#join.joined) this.#bindings.prune(this.#clock.now());
    return { records, drained };
  }

  /** Where to go on from if every record returned so far is kept. */
  checkpoint(): ExchangeCheckpoint {
    const marks = [...this.#access.values(), this.#egressLog].flatMap(({ path, mark }) => (mark ? [[basename(path), mark] as const] : []));
    const bindings = this.#bindingLog.mark;
    const { offset, carried } = this.#bindings.resume(bindings?.inode ?? 0);
    return {
      version: 1,
      files: {
        ...Object.fromEntries(marks),
        ...(bindings ? { [basename(this.#bindingLog.path)]: offset === undefined ? bindings : { inode: bindings.inode, born: bindings.born, offset } } : {}),
      },
      bindings: carried,
      join: this.#join.snapshot(),
    };
  }

  async #readAll<T>(tail: Tail, parser: (text: string) => T | undefined, take: (parsed: T, line: Line) => void): Promise<void> {
    for (let drained = false; !drained;) {
      const part = await tail.read(READ_BYTES);
      this.#parse(part.lines, parser, take);
      ({ drained } = part);
    }
  }

  #parse<T>(lines: readonly Line[], parser: (text: string) => T | undefined, take: (parsed: T, line: Line) => void): void {
    for (const line of lines) {
      let parsed = parser(line.text);
      if (!parsed) {
        this.malformed++;
        const rest = afterTear(line.text);
        parsed = rest === undefined ? undefined : parser(rest);
      }
      if (parsed) take(parsed, line);
    }
  }

  async #discover(): Promise<void> {
    const names = await readdir(this.#paths.records).catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') return [];
      throw error;
    });
    for (const name of names) {
      const [, index] = ENVOY.exec(name) ?? [];
      if (index !== undefined && !this.#access.has(name)) this.#access.set(name, this.#tail(this.#paths.accessLog(Number(index))));
    }
  }

  #tail(path: string): Tail {
    return new Tail(path, this.#marks[basename(path)]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const tail of [...this.#access.values(), this.#egressLog, this.#bindingLog]) await tail[Symbol.asyncDispose]();
  }
}
