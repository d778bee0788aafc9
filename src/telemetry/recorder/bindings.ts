import type { BindingLine } from '#model';

/** How long after its release a binding is kept for lines of streams that ended late: twice Envoy's idle timeout. */
const KEEP_MS = 10 * 60_000;
/**
 * How far the clock may have been set back between the bind and a request of it. An address is given out again 60 s after
 * its last connection at the earliest, so this cannot name the wrong run.
 */
const SKEW_MS = 1_000;

/** Where a line was read: file (inode) and offset of its first byte. */
export interface Position {
  readonly inode: number;
  readonly offset: number;
}

interface Span {
  readonly bind: BindingLine;
  readonly at: Position;
  until: number;
}

/** Which run had which address when. Reading lines again changes nothing. */
export class Bindings {
  readonly #spans = new Map<string, Span[]>();

  add(line: BindingLine, at: Position): void {
    const spans = this.#spans.get(line.address) ?? [];
    if (line.event === 'release') {
      const span = spans.findLast(({ bind }) => bind.invocation === line.invocation && bind.time <= line.time);
      if (span) span.until = Math.min(span.until, line.time);
      return;
    }
    if (spans.some(({ bind }) => bind.time === line.time && bind.invocation === line.invocation)) return;
    // A bind without a release before it: the sandbox was parked, or the worker killed. The address then belongs to the newer run.
    const previous = spans.at(-1);
    if (previous) previous.until = Math.min(previous.until, line.time);
    spans.push({ bind: line, at, until: Infinity });
    this.#spans.set(line.address, spans);
  }

  find(address: string, time: number): BindingLine | undefined {
    const spans = this.#spans.get(address) ?? [];
    const exact = spans.findLast(({ bind, until }) => bind.time <= time && time <= until);
    return (exact ?? spans.findLast(({ bind, until }) => bind.time - SKEW_MS <= time && time <= until + SKEW_MS))?.bind;
  }

  /** Forgets runs long over. Call only when every line written so far has been joined. */
  prune(now: number): void {
    for (const [address, spans] of this.#spans) {
      const kept = spans.filter(({ until }) => until > now - KEEP_MS);
      if (kept.length === 0) this.#spans.delete(address);
      else if (kept.length < spans.length) this.#spans.set(address, kept);
    }
  }

  /**
   * What a restart needs to know everything known now, when it reads file `inode` again: from which offset (undefined =
   * nothing in it is needed), and the lines that came from other files.
   */
  resume(inode: number): { readonly offset: number | undefined; readonly carried: readonly BindingLine[] } {
    const spans = [...this.#spans.values()].flat();
    const here = spans.filter(({ at }) => at.inode === inode).map(({ at }) => at.offset);
    return {
      offset: here.length > 0 ? here.reduce((a, b) => Math.min(a, b)) : undefined,
      carried: spans
        .filter(({ at }) => at.inode !== inode)
        .flatMap(({ bind, until }) => (until === Infinity ? [bind] : [bind, { ...bind, event: 'release' as const, time: until }])),
    };
  }
}
