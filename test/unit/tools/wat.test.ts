import fc from 'fast-check';
import { expect, test } from 'vitest';
import { assemble } from '../../../tools/wat.ts';
import { WebAssembly, type Memory } from './wasm.ts';

/** The assembler, by what Node.js makes of its modules. */
const load = <Exports>(text: string, imports = {}): Exports => new WebAssembly.Instance(new WebAssembly.Module(assemble(text)), imports).exports as Exports;

test('the bytes of a small module are those of the specification', () => {
  const bytes = assemble('(module (func (export "f") (result i32) (i32.const -1))) ;; a comment');
  expect(Buffer.from(bytes).toString('hex')).toBe('0061736d01000000' + '0105016000017f' + '03020100' + '0705010166' + '0000' + '0a0601040041' + '7f0b');
});

test('constants of any size, and arithmetic', () => {
  const operations: Readonly<Record<string, (a: number, b: number) => number | boolean>> = {
    add: (a, b) => a + b,
    sub: (a, b) => a - b,
    and: (a, b) => a & b,
    or: (a, b) => a | b,
    shl: (a, b) => a << b,
    shr_u: (a, b) => a >>> b,
    eq: (a, b) => a === b,
    ne: (a, b) => a !== b,
    lt_u: (a, b) => a >>> 0 < b >>> 0,
    gt_u: (a, b) => a >>> 0 > b >>> 0,
    le_u: (a, b) => a >>> 0 <= b >>> 0,
  };
  fc.assert(
    fc.property(fc.constantFrom(...Object.entries(operations)), fc.integer(), fc.integer(), ([name, same], a, b) => {
      const { f } = load<{ f(): number }>(`(module (func (export "f") (result i32) (i32.${name} (i32.const ${a}) (i32.const ${b}))))`);
      expect(f() | 0).toBe(Number(same(a, b)) | 0);
    }),
    { numRuns: 300 },
  );
});

test('loops, labels, memory, data, globals, locals, imports and calls', () => {
  const calls: number[] = [];
  const { memory, count, word } = load<{ memory: Memory; count(n: number): number; word(): number }>(
    `(module
      (import "host" "tell" (func $tell (param i32)))
      (memory (export "memory") 1)
      (data (i32.const 8) "abc")
      (global $total (mut i32) (i32.const 0))
      (func $add (param $n i32) (global.set $total (i32.add (global.get $total) (local.get $n))))
      (func (export "count") (param $to i32) (result i32)
        (local $n i32)
        (block $done
          (loop $next
            (br_if $done (i32.eq (local.get $n) (local.get $to)))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (if (i32.and (local.get $n) (i32.const 1)) (then (br $next)))
            (call $tell (local.get $n))
            (call $add (local.get $n))
            (br $next)))
        (memory.fill (i32.const 100) (i32.const 7) (i32.const 3))
        (i32.store8 (i32.const 101) (local.get $n))
        (return (global.get $total)))
      (func (export "word") (result i32)
        (if (i32.eqz (i32.load8_u (i32.const 8))) (then (return (i32.const 0))))
        (drop (i32.const 1))
        (i32.load (i32.const 8))))`,
    { host: { tell: (n: number) => calls.push(n) } },
  );
  expect(count(9)).toBe(2 + 4 + 6 + 8);
  expect(calls).toEqual([2, 4, 6, 8]);
  expect(word()).toBe(0x00636261);
  expect([...new Uint8Array(memory.buffer, 99, 5)]).toEqual([0, 7, 9, 7, 0]);
});

test('what it does not know is an error', () => {
  for (const [text, message] of [
    ['(module (func (i64.const 1)))', 'i64.const'],
    ['(module (func (call $nobody)))', '$nobody'],
    ['(module (func (br $nowhere)))', '$nowhere'],
    ['(module (func (i32.const 1.5)))', '1.5'],
    ['(module (func (local $a i64)))', 'i32'],
    ['(module (table 1 funcref))', 'table'],
    ['(module (func', 'missing'],
    ['(module))', 'too many'],
    ['(module) (module)', 'one (module'],
    ['(module (data (i32.const 0) "a\\00"))', 'plain string'],
    ['(module (func (if (i32.const 1) (then) (else))))', 'if takes'],
  ] as const)
    expect(() => assemble(text), text).toThrow(message);
});
