/**
 * An assembler for the part of the WebAssembly text format that the filter in `src/egress/translate/wasm` is written in: one memory, functions of i32,
 * instructions folded. What it does not know is an error. Source: WebAssembly 2.0, chapters 5 (binary) and 6 (text).
 */
type Node = string | readonly Node[];

const tokens = (text: string): string[] => text.replaceAll(/;;.*/g, '').match(/"[^"]*"|[()]|[^\s()"]+/g) ?? [];

const parse = (text: string): readonly Node[] => {
  const open: Node[][] = [[]];
  for (const token of tokens(text)) {
    if (token === '(') open.push([]);
    else if (token === ')') {
      const closed = open.pop()!;
      if (open.length === 0) throw new Error('a ) too many');
      open.at(-1)!.push(closed);
    } else open.at(-1)!.push(token);
  }
  if (open.length !== 1) throw new Error('a ) is missing');
  return open[0]!;
};

const isList = (node: Node | undefined): node is readonly Node[] => Array.isArray(node);
const word = (node: Node | undefined): string => {
  if (typeof node !== 'string') throw new Error(`a word is expected, not ${JSON.stringify(node)}`);
  return node;
};
const list = (node: Node | undefined): readonly Node[] => {
  if (!isList(node)) throw new Error(`( is expected, not ${JSON.stringify(node)}`);
  return node;
};
const string = (node: Node | undefined): Buffer => {
  const text = word(node);
  if (!/^"[ -~]*"$/.test(text) || text.includes('\\')) throw new Error(`a plain string is expected, not ${text}`);
  return Buffer.from(text.slice(1, -1), 'latin1');
};
const headed = (nodes: readonly Node[], head: string): (readonly Node[])[] => nodes.filter(isList).filter((node) => node[0] === head);

const unsigned = (value: number): number[] => (value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)]);
const signed = (value: number): number[] => (value >= -64 && value < 64 ? [value & 0x7f] : [(value & 0x7f) | 0x80, ...signed(value >> 7)]);
const vector = (items: readonly (readonly number[])[]): number[] => [...unsigned(items.length), ...items.flat()];
const bytes = (content: Iterable<number>): number[] => {
  const all = [...content];
  return [...unsigned(all.length), ...all];
};

const I32 = 0x7f;
/** Instructions whose operands are expressions only. Those of memory are followed by alignment and offset. */
const PLAIN: Readonly<Record<string, readonly number[]>> = {
  drop: [0x1a],
  return: [0x0f],
  'i32.load': [0x28, 2, 0],
  'i32.load8_u': [0x2d, 0, 0],
  'i32.store8': [0x3a, 0, 0],
  'memory.fill': [0xfc, 0x0b, 0],
  'i32.eqz': [0x45],
  'i32.eq': [0x46],
  'i32.ne': [0x47],
  'i32.lt_u': [0x49],
  'i32.gt_u': [0x4b],
  'i32.le_u': [0x4d],
  'i32.add': [0x6a],
  'i32.sub': [0x6b],
  'i32.and': [0x71],
  'i32.or': [0x72],
  'i32.shl': [0x74],
  'i32.shr_u': [0x76],
};
/** Instructions that name something before their operands. */
const NAMING: Readonly<Record<string, readonly [number, 'locals' | 'globals' | 'functions']>> = {
  call: [0x10, 'functions'],
  'local.get': [0x20, 'locals'],
  'local.set': [0x21, 'locals'],
  'global.get': [0x23, 'globals'],
  'global.set': [0x24, 'globals'],
};

interface Names {
  readonly functions: readonly string[];
  readonly globals: readonly string[];
  readonly locals: readonly string[];
  readonly labels: readonly string[];
}

const indexOf = (names: readonly string[], name: string): number => {
  const index = names.indexOf(name);
  if (index < 0) throw new Error(`${name} is not known here`);
  return index;
};

const expressions = (nodes: readonly Node[], names: Names): number[] => nodes.flatMap((node) => expression(list(node), names));

const expression = (node: readonly Node[], names: Names): number[] => {
  const [head, ...rest] = node;
  const name = word(head);
  if (name === 'i32.const') {
    const value = Number(word(rest[0]));
    if (!Number.isInteger(value)) throw new Error(`i32.const ${String(rest[0])}`);
    return [0x41, ...signed(value | 0)];
  }
  if (name === 'block' || name === 'loop') {
    const inner = { ...names, labels: [word(rest[0]), ...names.labels] };
    return [name === 'block' ? 0x02 : 0x03, 0x40, ...expressions(rest.slice(1), inner), 0x0b];
  }
  if (name === 'br' || name === 'br_if')
    return [...expressions(rest.slice(1), names), name === 'br' ? 0x0c : 0x0d, ...unsigned(indexOf(names.labels, word(rest[0])))];
  if (name === 'if') {
    const [then] = headed(rest, 'then');
    if (!then || rest.length !== 2) throw new Error('if takes a condition and a then');
    const inner = { ...names, labels: ['', ...names.labels] };
    return [...expression(list(rest[0]), names), 0x04, 0x40, ...expressions(then.slice(1), inner), 0x0b];
  }
  const plain = PLAIN[name];
  if (plain) return [...expressions(rest, names), ...plain];
  const naming = NAMING[name];
  if (!naming) throw new Error(`${name} is not an instruction this assembler knows`);
  return [...expressions(rest.slice(1), names), naming[0], ...unsigned(indexOf(names[naming[1]], word(rest[0])))];
};

/** Names of parameters or locals: `(param $a i32)`, or `(param i32 i32)` without names. */
const declared = (nodes: readonly Node[], kind: 'param' | 'local'): string[] =>
  headed(nodes, kind).flatMap(([, ...words]) => {
    const named = word(words[0]).startsWith('$');
    const types = named ? words.slice(1) : words;
    if (types.some((type) => type !== 'i32') || (named && types.length !== 1)) throw new Error(`(${kind} …) is of i32`);
    return named ? [word(words[0])] : types.map(() => '');
  });

/** Parameters and results, as one string: `ii>i`. */
const typeOf = (nodes: readonly Node[]): string => `${'i'.repeat(declared(nodes, 'param').length)}>${'i'.repeat(headed(nodes, 'result').length)}`;
const encodeType = (type: string): number[] => [0x60, ...type.split('>').flatMap((side) => vector([...side].map(() => [I32])))];

const MAGIC = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];

/** Left out when it is an empty vector. */
const section = (id: number, content: readonly number[]): number[] => (content.length === 1 ? [] : [id, ...bytes(content)]);

/** The binary of a module. */
export const assemble = (text: string): Uint8Array => {
  const [module, ...more] = parse(text);
  const fields = list(module).slice(1).map(list);
  if (more.length > 0 || list(module)[0] !== 'module') throw new Error('one (module …) is expected');
  const known = ['import', 'memory', 'data', 'global', 'func'];
  for (const [head] of fields) if (!known.includes(word(head))) throw new Error(`(${String(head)} …) is not known`);

  const imports = headed(fields, 'import');
  const functions = headed(fields, 'func');
  const globals = headed(fields, 'global');
  const memories = headed(fields, 'memory');
  const signatures = [...imports.map((node) => list(node[3])), ...functions];
  const types = [...new Set(signatures.map(typeOf))];
  const typeIndex = (node: readonly Node[]): number[] => unsigned(types.indexOf(typeOf(node)));
  const nameOf = (node: readonly Node[]): string => (typeof node[1] === 'string' ? node[1] : '');
  const names = { functions: signatures.map(nameOf), globals: globals.map(nameOf), labels: [] };

  const exported = (nodes: readonly (readonly Node[])[], kind: number, first: number): number[][] =>
    nodes.flatMap((node, index) => headed(node, 'export').map((named) => [...bytes(string(named[1])), kind, ...unsigned(first + index)]));
  const code = functions.map((node) => {
    const params = declared(node, 'param');
    const locals = declared(node, 'local');
    const body = node.slice(nameOf(node) ? 2 : 1).filter((part) => !['export', 'param', 'result', 'local'].includes(word(list(part)[0])));
    const inner = { ...names, locals: [...params, ...locals] };
    return bytes([...vector(locals.length > 0 ? [[...unsigned(locals.length), I32]] : []), ...expressions(body, inner), 0x0b]);
  });
  const none = { ...names, locals: [] };

  return Uint8Array.from([
    ...MAGIC,
    ...section(1, vector(types.map(encodeType))),
    ...section(2, vector(imports.map((node) => [...bytes(string(node[1])), ...bytes(string(node[2])), 0, ...typeIndex(list(node[3]))]))),
    ...section(3, vector(functions.map(typeIndex))),
    ...section(5, vector(memories.map((node) => [0, ...unsigned(Number(node.at(-1)))]))),
    ...section(6, vector(globals.map((node) => [I32, 1, ...expression(list(node[3]), none), 0x0b]))),
    ...section(7, vector([...exported(memories, 2, 0), ...exported(functions, 0, imports.length)])),
    ...section(10, vector(code)),
    ...section(11, vector(headed(fields, 'data').map((node) => [0, ...expression(list(node[1]), none), 0x0b, ...bytes(string(node[2]))]))),
  ]);
};
