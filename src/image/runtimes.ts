import { readdir, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { readIfExists } from '#lib';
import type { Base } from './base-layer.ts';
import { libraryFiles } from './libraries.ts';
import { findPython, preparePython, pythonBase, pythonMain, type Failed } from './python.ts';

export type { Failed } from './python.ts';

/** What an image brings besides the program. */
export type Runtime = 'node' | 'python' | 'none';

export interface PrepareOptions {
  /** The program's directory. */
  readonly dir: string;
  /** A path for a changed copy of it; nothing is there yet. */
  readonly to: string;
  readonly entrypoint: readonly string[];
  readonly nodeBinary: string;
  readonly pythonBinary: string;
  readonly failed: Failed;
}

interface Prepared {
  readonly base: Base;
  /** Directory that becomes /app. */
  readonly app: string;
  /** `NAME=value` lines. */
  readonly env: readonly string[];
}

export interface RuntimeSpec {
  /** For progress lines. */
  readonly brings: string;
  /** Whether a file of this name, directly in the directory, shows that this runtime is meant. */
  readonly marks: (name: string) => boolean;
  /** Programs of the runtime an entrypoint may begin with. */
  readonly interpreters: readonly string[];
  /** The command line when no entrypoint is given. */
  readonly command: (dir: string, failed: Failed) => Promise<readonly string[]>;
  readonly prepare: (options: PrepareOptions) => Promise<Prepared>;
}

export const isFile = async (path: string): Promise<boolean> => (await stat(path).catch(() => undefined))?.isFile() === true;

/** The file `node` starts: package.json's `main`, else an index file, resolved as Node resolves a directory. */
const nodeMain = async (dir: string, failed: Failed): Promise<string> => {
  const text = await readIfExists(join(dir, 'package.json'));
  let main: unknown;
  try {
    main = text === undefined ? undefined : (JSON.parse(text) as { main?: unknown }).main;
  } catch {
    throw failed('its package.json is not JSON', 'Correct it.');
  }
  const named = typeof main === 'string' && main !== '' ? posix.normalize(main) : undefined;
  const candidates = [
    ...(named ? ['', '.js', '.mjs', '.cjs', '.ts', '/index.js'].map((end) => named + end) : []),
    'index.js',
    'index.mjs',
    'index.cjs',
    'index.ts',
  ];
  for (const candidate of candidates) {
    if (!candidate.startsWith('..') && !posix.isAbsolute(candidate) && (await isFile(join(dir, candidate)))) return candidate;
  }
  throw failed(`it has no ${named ?? 'index.js'}`, 'Name the program in package.json "main", or use --entrypoint.');
};

/** The table of runtimes. */
export const RUNTIMES: Readonly<Record<Runtime, RuntimeSpec>> = {
  node: {
    brings: 'Node.js with its libraries, and the program',
    marks: (name) => name === 'package.json' || /^index\.(js|mjs|cjs|ts)$/.test(name),
    interpreters: ['node'],
    command: async (dir, failed) => ['node', await nodeMain(dir, failed)],
    prepare: async ({ dir, nodeBinary }) => ({
      base: { files: [{ from: nodeBinary, to: 'usr/local/bin/node' }, ...(await libraryFiles([nodeBinary]))] },
      app: dir,
      env: [],
    }),
  },
  python: {
    brings: 'Python with its standard library, and the program, compiled',
    marks: (name) => name.endsWith('.py') || ['requirements.txt', 'pyproject.toml'].includes(name),
    interpreters: ['python3', 'python'],
    command: async (dir, failed) => ['python3', await pythonMain(dir, failed)],
    prepare: async ({ dir, to, entrypoint, pythonBinary, failed }) => {
      const python = await findPython(pythonBinary, failed);
      const program = entrypoint.find((word) => word.endsWith('.py'));
      const inDir = program && posix.relative('/app', posix.resolve('/app', program));
      const env = await preparePython(python, dir, to, inDir && (await isFile(join(dir, inDir))) ? inDir : undefined, failed);
      return { base: await pythonBase(python), app: to, env };
    },
  },
  none: {
    brings: 'the program',
    marks: () => false,
    interpreters: [],
    command: async (_, failed) => {
      throw failed('there is no entrypoint', 'Say which program to run with --entrypoint, for example --entrypoint ./agent.');
    },
    prepare: async ({ dir }) => ({ base: { files: [] }, app: dir, env: [] }),
  },
};

export const isRuntime = (text: string): text is Runtime => Object.hasOwn(RUNTIMES, text);

/** The runtime a directory's files show; throws when they show none, or more than one. */
export const detectRuntime = async (dir: string, failed: Failed): Promise<Runtime> => {
  const names = (await readdir(dir)).toSorted();
  const shown = (Object.keys(RUNTIMES) as Runtime[]).flatMap((runtime) => {
    const name = names.find((each) => RUNTIMES[runtime].marks(each));
    return name === undefined ? [] : [{ runtime, name }];
  });
  const [first, second] = shown;
  if (first && second)
    throw failed(
      `${first.name} shows a ${first.runtime} program, ${second.name} a ${second.runtime} one`,
      `Say which it is: --runtime ${first.runtime} or --runtime ${second.runtime}.`,
    );
  if (!first) throw failed('nothing in it shows what runs it', 'Say it with --runtime node, --runtime python, or --runtime none with an --entrypoint.');
  return first.runtime;
};
