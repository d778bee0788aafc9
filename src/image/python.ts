import { constants } from 'node:fs';
import { cp, mkdir, readdir, stat, symlink } from 'node:fs/promises';
import { basename, dirname, join, sep } from 'node:path';
import { ClrkError, messageOf, readIfExists, run } from '#lib';
import type { Base } from './base-layer.ts';
import { libraryFiles, type CopiedFile } from './libraries.ts';

/** What a build says when it cannot go on: the cause, and how to fix it. */
export type Failed = (cause: string, fix: string) => ClrkError;

/** The Python of this machine (not of a virtual environment). */
interface Python {
  /** Its binary, links resolved. */
  readonly executable: string;
  /** `3.11`. */
  readonly version: string;
  readonly stdlib: string;
  /** `lib`, on some distributions `lib64`. */
  readonly libdir: string;
}

const OLDEST = [3, 9] as const;
const PROBE = `import json, os, sys, sysconfig
print(json.dumps({
  "executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
  "version": "%d.%d" % sys.version_info[:2],
  "stdlib": os.path.realpath(sysconfig.get_path("stdlib")),
  "libdir": sys.platlibdir,
}))`;

/** Not needed by programs in a sandbox: tests, windows, installers, and what belongs to this machine. */
const LEFT_OUT =
  /^(__pycache__|tests?|idlelib|tkinter|turtledemo|ensurepip|lib2to3|site-packages|dist-packages|config-.*|sitecustomize\.py|usercustomize\.py|EXTERNALLY-MANAGED|_(tkinter|test|xx).*\.so|xx.*\.so)$/;
/** Libraries that wheels may expect of the machine (manylinux) and that do not follow from Python itself. */
const FOR_WHEELS = ['libgcc_s.so.1', 'libstdc++.so.6', 'libz.so.1', 'libdl.so.2', 'libpthread.so.0', 'librt.so.1', 'libutil.so.1'];

/** Environment in which the same source compiles to the same bytes: sets keep one order. */
const STEADY = { PATH: process.env['PATH'], LC_ALL: 'C', PYTHONHASHSEED: '0' };
const ISOLATED = ['-S', '-s', '-E'];

export const findPython = async (binary: string, failed: Failed): Promise<Python> => {
  let python: Python;
  try {
    python = JSON.parse((await run(binary, ['-I', '-c', PROBE])).stdout) as Python;
  } catch (error) {
    throw failed(`Python does not run on this machine (${messageOf(error)})`, 'Install Python 3 (apt-get install python3), or put one on PATH.');
  }
  const [major = 0, minor = 0] = python.version.split('.').map(Number);
  if (major !== OLDEST[0] || minor < OLDEST[1]) throw failed(`${binary} is Python ${python.version}`, `Put Python ${OLDEST.join('.')} or newer on PATH.`);
  return python;
};

const stdlibFiles = async ({ stdlib, version, libdir }: Python): Promise<CopiedFile[]> => {
  const entries = await readdir(stdlib, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(stdlib.length + 1))
    .filter((path) => !path.split(sep).some((part) => LEFT_OUT.test(part)));
  return paths.toSorted().map((path) => ({ from: join(stdlib, path), to: join('usr/local', libdir, `python${version}`, path) }));
};

/**
 * Compiles everything below `dir`, which will be `place` in the image. The results carry a hash of their source instead of
 * its time (PEP 552), so that they are the same whenever they are made. What is no Python of this version stays source.
 */
const compile = async ({ executable }: Python, dir: string, place: string): Promise<void> => {
  const args = ['-m', 'compileall', '-q', '-q', '--invalidation-mode', 'unchecked-hash', '-s', dir, '-p', place, dir];
  // Without -E, or PYTHONHASHSEED would not count; the environment has nothing else of Python's.
  await run(executable, ['-S', '-s', ...args], { env: STEADY, cwd: '/' }).catch((error: unknown) => {
    if (!(error instanceof ClrkError) || error.code !== 'ChildFailed') throw error;
  });
};

/** The interpreter under /usr/local with its standard library, compiled, and every library both of them load. */
export const pythonBase = async (python: Python): Promise<Base> => {
  const library = await stdlibFiles(python);
  const modules = library.map(({ from }) => from).filter((path) => path.endsWith('.so'));
  const program = `python${python.version}`;
  return {
    files: [{ from: python.executable, to: `usr/local/bin/${program}` }, ...library, ...(await libraryFiles([python.executable, ...modules], FOR_WHEELS))],
    complete: async (root) => {
      for (const name of ['python3', 'python']) await symlink(program, join(root, 'usr/local/bin', name));
      const place = join('/usr/local', python.libdir, program);
      await compile(python, join(root, place), place);
    },
  };
};

const has = (names: readonly string[], end: string): boolean => names.some((name) => name.endsWith(end));

/** Directories of DIR with installed packages, relative to it: virtual environments, and targets of `pip install --target`. */
const packageDirs = async (dir: string, names: readonly string[], version: string, failed: Failed): Promise<string[]> => {
  const found: string[] = [];
  for (const name of names) {
    const inside = await readdir(join(dir, name)).catch((): string[] => []);
    if (inside.includes('pyvenv.cfg')) {
      const place = join(name, 'lib', `python${version}`, 'site-packages');
      if (!(await stat(join(dir, place)).catch(() => undefined)))
        throw failed(`its virtual environment ${name} is not one of Python ${version}`, `Make it again with Python ${version}, which goes into the image.`);
      found.push(place);
    } else if (has(inside, '.dist-info')) found.push(name);
  }
  return found;
};

const checkRequirements = async (dir: string, failed: Failed): Promise<void> => {
  const text = (await readIfExists(join(dir, 'requirements.txt'))) ?? '';
  if (text.split('\n').every((line) => /^\s*(#|-|$)/.test(line))) return;
  throw failed(
    'requirements.txt names packages, but none are installed in it',
    `Run python3 -m pip install -r ${join(dir, 'requirements.txt')} --target ${join(dir, 'vendor')}, then build again.`,
  );
};

/** Refuses a program that is no Python, where the person who wrote it still sees it. */
const checkSyntax = async ({ executable }: Python, dir: string, program: string, failed: Failed): Promise<void> => {
  const check = 'import sys\ntry: compile(open(sys.argv[1], "rb").read(), sys.argv[2], "exec")\nexcept (SyntaxError, ValueError) as e: sys.exit(f"{e}")';
  await run(executable, [...ISOLATED, '-c', check, join(dir, program), program]).catch((error: unknown) => {
    const text = messageOf(error);
    throw failed(`${program} is not Python: ${text.slice(text.indexOf('exit code 1: ') + 13)}`, 'Correct it.');
  });
};

/**
 * Copies the program to `to` as it will lie in /app, with everything compiled; returns the environment it needs.
 * Left behind: bytecode of this machine, and of a virtual environment all but its packages (its links and scripts name this machine).
 */
export const preparePython = async (python: Python, dir: string, to: string, program: string | undefined, failed: Failed): Promise<readonly string[]> => {
  const names = (await readdir(dir)).toSorted();
  const packages = await packageDirs(dir, names, python.version, failed);
  if (packages.length === 0 && !has(names, '.dist-info')) await checkRequirements(dir, failed);
  if (program !== undefined) await checkSyntax(python, dir, program, failed);
  const environments = packages.filter((path) => path.includes(sep));
  const venvs = new Set(environments.map((path) => path.split(sep)[0]!));
  const copy = (from: string, target: string): Promise<void> =>
    cp(from, target, {
      recursive: true,
      verbatimSymlinks: true,
      mode: constants.COPYFILE_FICLONE,
      filter: (path) => basename(path) !== '__pycache__' && !(dirname(path) === dir && venvs.has(basename(path))),
    });
  await copy(dir, to);
  for (const path of environments) {
    await mkdir(dirname(join(to, path)), { recursive: true });
    await copy(join(dir, path), join(to, path));
  }
  await compile(python, to, '/app');
  return [
    'PYTHONDONTWRITEBYTECODE=1',
    'PYTHONUNBUFFERED=1', // what the agent prints is its answer, and it may be streamed
    ...(packages.length > 0 ? [`PYTHONPATH=${packages.map((path) => join('/app', path)).join(':')}`] : []),
  ];
};

/** File names by which a Python program is known, in the order they are looked for. */
const MAINS = ['main.py', 'agent.py', 'app.py', '__main__.py'];

/** The file `python3` starts: one of the usual names, else the only one there is. */
export const pythonMain = async (dir: string, failed: Failed): Promise<string> => {
  const names = await readdir(dir);
  const programs = names.filter((name) => name.endsWith('.py'));
  const main = MAINS.find((name) => programs.includes(name)) ?? (programs.length === 1 ? programs[0] : undefined);
  if (main === undefined) throw failed(`it has no ${MAINS.slice(0, 3).join(', ')}`, 'Name the program: --entrypoint python3 --entrypoint FILE.');
  return main;
};
