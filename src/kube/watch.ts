import type { KubeObject } from '#api';
import { toApiError } from './api-error.ts';

/** A change of one object; a BOOKMARK's object has only `metadata.resourceVersion`. */
export interface WatchEvent<T extends KubeObject = KubeObject> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: T;
}

/** Lines of newline-delimited text; a part after the last newline is dropped (a cut event must not count). */
export async function* readLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string, void> {
  const decoder = new TextDecoder();
  let parts: string[] = [];
  for await (const chunk of chunks) {
    const lines = decoder.decode(chunk, { stream: true }).split('\n');
    const last = lines.pop()!;
    for (const line of lines) {
      yield parts.length > 0 ? parts.join('') + line : line;
      parts = [];
    }
    if (last) parts.push(last);
  }
}

/** Events of a watch. An ERROR event throws its Status as ApiError. */
export async function* readWatch<T extends KubeObject>(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<WatchEvent<T>, void> {
  for await (const line of readLines(chunks)) {
    if (!line.trim()) continue;
    const event = JSON.parse(line) as { type: string; object: T };
    if (event.type === 'ERROR') throw toApiError(500, JSON.stringify({ ...event.object, kind: 'Status' }));
    yield event as WatchEvent<T>;
  }
}
