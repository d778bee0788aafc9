import { open, readdir, lstat, readFile, readlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { constants, inflateRawSync, inflateSync } from 'node:zlib';

/** A form in which a secret could show up. */
export interface Needle {
  readonly form: string;
  readonly bytes: Buffer;
}

/** The part of base64 text that is the same whatever stands before and after the value in what was encoded. */
const base64Core = (value: Buffer, offset: number, encoding: 'base64' | 'base64url'): Buffer => {
  const encoded = Buffer.concat([Buffer.alloc(offset), value])
    .toString(encoding)
    .replaceAll('=', '');
  const from = Math.ceil((offset * 8) / 6);
  const to = Math.floor(((offset + value.length) * 8) / 6);
  return Buffer.from(encoded.slice(from, to));
};

const percent = (value: Buffer, upper: boolean): Buffer => {
  const hex = [...value].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
  return Buffer.from(upper ? hex.toUpperCase() : hex);
};

/** Escaped as in JSON, each character, or only those that may be. */
const escaped = (value: Buffer, upper: boolean): Buffer => {
  const codes = [...value].map((byte) => byte.toString(16).padStart(4, '0'));
  return Buffer.from(codes.map((code) => `\\u${upper ? code.toUpperCase() : code}`).join(''));
};
/** What encoders write that leave alone what they can; none where that is the value itself. */
const sparing = (value: Buffer): { readonly form: string; readonly bytes: Buffer }[] => {
  const text = value.toString();
  const forms = {
    JSON: JSON.stringify(text).slice(1, -1),
    'JSON with slashes': JSON.stringify(text).slice(1, -1).replaceAll('/', '\\/'),
    'URL-encoded': encodeURIComponent(text),
  };
  return Object.entries(forms).flatMap(([form, encoded]) => (encoded === text ? [] : [{ form, bytes: Buffer.from(encoded) }]));
};

/** Raw, halves, base64 and base64url at each alignment (also of the halves), percent-encoded, escaped as in JSON, hex, UTF-16, reversed. */
export const needlesOf = (secret: string): Needle[] => {
  const whole = Buffer.from(secret);
  const middle = Math.floor(whole.length / 2);
  const parts = [
    ['', whole],
    ['first half, ', whole.subarray(0, middle)],
    ['second half, ', whole.subarray(middle)],
  ] as const;
  return parts.flatMap(([part, value]) => [
    { form: `${part}raw`, bytes: value },
    { form: `${part}reversed`, bytes: Buffer.from(value).reverse() },
    { form: `${part}hex`, bytes: Buffer.from(value.toString('hex')) },
    { form: `${part}upper hex`, bytes: Buffer.from(value.toString('hex').toUpperCase()) },
    // Little-endian; the other order is the same bytes, shifted by one, but for the first.
    { form: `${part}UTF-16`, bytes: Buffer.from(value.toString(), 'utf16le').subarray(0, -1) },
    ...[true, false].map((upper) => ({ form: `${part}percent-encoded`, bytes: percent(value, upper) })),
    ...[true, false].map((upper) => ({ form: `${part}escaped`, bytes: escaped(value, upper) })),
    ...sparing(value).map(({ form, bytes }) => ({ form: `${part}${form}`, bytes })),
    ...[0, 1, 2].flatMap((offset) =>
      (['base64', 'base64url'] as const).map((encoding) => ({ form: `${part}${encoding} at ${offset}`, bytes: base64Core(value, offset, encoding) })),
    ),
  ]);
};

/** Of the value, not of a half of it: where chance would find those, or time is short. */
export const isWhole = ({ form }: Needle): boolean => !form.includes('half');

const UNPACK = { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: 64 * 1024 * 1024 };

/** Where the data of a gzip member begins (RFC 1952, 2.3); -1 when it is none. */
const afterGzipHead = (bytes: Buffer, start: number): number => {
  const flags = bytes[start + 3]!;
  if (flags > 0x1f) return -1;
  let at = start + 10;
  if (flags & 4) at += 2 + bytes.readUInt16LE(at);
  for (const flag of [8, 16]) if (flags & flag) at = bytes.indexOf(0, at) + 1;
  return flags & 2 ? at + 2 : at;
};

/** Contents of the gzip and zlib members in some bytes, so that compressed bodies are searched too; a cut one up to its cut. */
const unpacked = (bytes: Buffer): Buffer[] => {
  const found: Buffer[] = [];
  const inflate = (unpack: () => Buffer): void => {
    try {
      found.push(unpack());
    } catch {
      // a few bytes that look like the start of something
    }
  };
  for (let at = bytes.indexOf('\x1f\x8b\x08', 0, 'latin1'); at >= 0; at = bytes.indexOf('\x1f\x8b\x08', at + 1, 'latin1')) {
    inflate(() => inflateRawSync(bytes.subarray(afterGzipHead(bytes, at)), UNPACK));
  }
  if (bytes[0] === 0x78) inflate(() => inflateSync(bytes, UNPACK));
  return found;
};

/** Needles by their first two bytes: one pass finds all of them, however many there are. */
type Index = readonly (readonly Needle[] | undefined)[];
const indexes = new WeakMap<readonly Needle[], Index>();
const indexOf = (needles: readonly Needle[]): Index => {
  const known = indexes.get(needles);
  if (known) return known;
  const index = Array.from<Needle[] | undefined>({ length: 65_536 });
  for (const needle of needles) (index[needle.bytes.readUInt16BE(0)] ??= []).push(needle);
  indexes.set(needles, index);
  return index;
};

const directly = (bytes: Buffer, needles: readonly Needle[]): Set<string> => {
  const index = indexOf(needles);
  const found = new Set<string>();
  for (let at = 0; at + 1 < bytes.length; at++) {
    const candidates = index[(bytes[at]! << 8) | bytes[at + 1]!];
    if (candidates === undefined) continue;
    for (const { form, bytes: needle } of candidates) {
      const end = at + needle.length;
      if (end <= bytes.length && !found.has(form) && needle.compare(bytes, at, end) === 0) found.add(form);
    }
  }
  return found;
};

/** Forms of the secret that are in some bytes, or in what is compressed in them. */
export const formsIn = (bytes: Buffer, needles: readonly Needle[]): string[] => [
  ...new Set([...directly(bytes, needles), ...unpacked(bytes).flatMap((inner) => [...directly(inner, needles)].map((form) => `compressed, ${form}`))]),
];

export interface Finding {
  readonly place: string;
  readonly forms: readonly string[];
}

const CHUNK = 8 * 1024 * 1024;

/** Searches a file in overlapping chunks, whatever its size. */
const searchFile = async (path: string, needles: readonly Needle[]): Promise<string[]> => {
  const longest = Math.max(...needles.map(({ bytes }) => bytes.length));
  const file = await open(path, 'r');
  try {
    const forms = new Set<string>();
    const buffer = Buffer.allocUnsafe(CHUNK);
    for (let at = 0; ; at += CHUNK - longest) {
      const { bytesRead } = await file.read(buffer, 0, CHUNK, at);
      for (const form of formsIn(buffer.subarray(0, bytesRead), needles)) forms.add(form);
      if (bytesRead < CHUNK) return [...forms];
    }
  } finally {
    await file.close();
  }
};

/** Every regular file below a directory; `skip` is asked with paths relative to it. Returns how many files were read. */
export const searchTree = async (
  root: string,
  needles: readonly Needle[],
  skip: (path: string) => boolean = () => false,
): Promise<{ readonly files: number; readonly found: Finding[] }> => {
  const found: Finding[] = [];
  let files = 0;
  const walk = async (below: string): Promise<void> => {
    for (const name of await readdir(join(root, below)).catch(() => [])) {
      const path = join(below, name);
      if (skip(path)) continue;
      const info = await lstat(join(root, path)).catch(() => undefined);
      if (info?.isDirectory()) await walk(path);
      if (!info?.isFile() || info.size === 0) continue;
      files++;
      const forms = await searchFile(join(root, path), needles).catch(() => []);
      if (forms.length > 0) found.push({ place: join(root, path), forms });
    }
  };
  await walk('');
  return { files, found };
};

/** Environment and command line of processes. */
export const searchProcesses = async (pids: readonly number[], needles: readonly Needle[]): Promise<Finding[]> => {
  const found: Finding[] = [];
  for (const pid of pids) {
    for (const name of ['environ', 'cmdline']) {
      const forms = formsIn(await readFile(`/proc/${pid}/${name}`).catch(() => Buffer.alloc(0)), needles);
      if (forms.length > 0) found.push({ place: `/proc/${pid}/${name}`, forms });
    }
  }
  return found;
};

/** Bytes of a file or address space from `begin` to `end`, in chunks that overlap by `overlap`; a hole ends it. */
const chunksOf = async function* (file: FileHandle, begin: bigint, end: bigint, overlap: number): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafe(CHUNK);
  for (let at = begin; at < end; at += BigInt(CHUNK - overlap)) {
    const size = Number(end - at < BigInt(CHUNK) ? end - at : BigInt(CHUNK));
    const read = await file.read(buffer, 0, size, at).catch(() => undefined);
    if (!read) return; // a guard page, or memory that is not there
    yield buffer.subarray(0, read.bytesRead);
    if (read.bytesRead < size) return;
  }
};

const ZEROS = Buffer.alloc(CHUNK);

/**
 * Everything readable of a process's memory, and of the memory files it has open: the guest memory of a sandbox is one of
 * those, mapped only in part. `files` are the memory files that were searched already, by inode; this adds its own.
 */
export const searchMemory = async (
  pid: number,
  needles: readonly Needle[],
  files = new Set<number>(),
): Promise<{ readonly bytes: number; readonly found: Finding[] }> => {
  const overlap = Math.max(...needles.map(({ bytes }) => bytes.length));
  const found = new Map<string, Set<string>>();
  let bytes = 0;
  const search = async (place: string, file: FileHandle, begin: bigint, end: bigint): Promise<void> => {
    for await (const chunk of chunksOf(file, begin, end, overlap)) {
      bytes += chunk.length;
      if (chunk.equals(ZEROS.subarray(0, chunk.length))) continue;
      for (const form of formsIn(chunk, needles)) found.set(place, (found.get(place) ?? new Set()).add(form));
    }
  };
  const maps = (await readFile(`/proc/${pid}/maps`, 'utf8')).split('\n');
  const memory = await open(`/proc/${pid}/mem`, 'r');
  try {
    for (const line of maps) {
      const [, from, to, writable, name = ''] = /^([0-9a-f]+)-([0-9a-f]+) r(.)\S+ \S+ \S+ \S+ *(.*)/.exec(line) ?? [];
      // Program text from a file cannot hold it; memory files are read whole below.
      if (!from || name.startsWith('[v') || name.startsWith('/memfd:') || (writable !== 'w' && name.startsWith('/'))) continue;
      await search(`/proc/${pid}/mem ${name}`, memory, BigInt(`0x${from}`), BigInt(`0x${to}`));
    }
  } finally {
    await memory.close();
  }
  for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
    const path = `/proc/${pid}/fd/${fd}`;
    const target = await readlink(path).catch(() => '');
    if (!target.startsWith('/memfd:')) continue;
    const file = await open(path, 'r');
    try {
      const { ino, size } = await file.stat();
      if (files.has(ino)) continue;
      files.add(ino);
      await search(`${path} ${target}`, file, 0n, BigInt(size));
    } finally {
      await file.close();
    }
  }
  return { bytes, found: [...found].map(([place, forms]) => ({ place, forms: [...forms] })) };
};
