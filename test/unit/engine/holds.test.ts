import { expect, test } from 'vitest';
import { Holds } from '../../../src/egress/engine/holds.ts';
import type { RequestHead } from '../../../src/egress/engine/request.ts';

const MIB = 1024 * 1024;
const head = (contentLength: number | '', source = '100.64.0.1', gateway = 'demo/egress') =>
  ({ contentLength: String(contentLength), source, gateway }) as RequestHead;
const taken = (holds: Holds, count: number, ...of: Parameters<typeof head>): readonly Disposable[] =>
  Array.from({ length: count }, () => holds.take(head(...of), false));

test('a sandbox has so many bytes of bodies under way, and others have theirs', () => {
  const holds = new Holds();
  const [first] = taken(holds, 4, 32 * MIB);
  expect(() => holds.take(head(1), false)).toThrow(/128 MiB of requests under way/);
  taken(holds, 4, 32 * MIB, '100.64.0.2');
  taken(holds, 4, 32 * MIB, '100.64.0.1', 'demo/other');
  first![Symbol.dispose]();
  first![Symbol.dispose](); // counts once
  taken(holds, 1, 32 * MIB);
  expect(() => holds.take(head(1), false)).toThrow(/under way/);
});

test('what does not say its size counts as half the largest, and nothing counts as none', () => {
  const unsaid = new Holds();
  taken(unsaid, 8, '');
  expect(() => unsaid.take(head(''), false)).toThrow(/under way/);
  const small = new Holds();
  for (let n = 0; n < 2_048; n++) small.take(head(1), n % 2 === 0);
  expect(() => small.take(head(1), true)).toThrow(/under way/);
});
