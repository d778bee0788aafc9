import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readIfExists, run, writeFileAtomic } from '#lib';
import { APP } from '#supervisor';

/** The quickstart's agents: the same program in two languages. */
export type Language = 'node' | 'python';

export const QUICKSTART = join(APP, 'examples', 'quickstart');

interface AgentSource {
  readonly dir: string;
  /** File that pins its packages. */
  readonly lock: string;
  /** Directory the packages go into. */
  readonly packages: string;
  readonly how: string;
  readonly install: (dir: string) => Promise<unknown>;
}

const PIP = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-compile', '--no-warn-conflicts', '--root-user-action', 'ignore'];

export const AGENTS: Readonly<Record<Language, AgentSource>> = {
  node: {
    dir: join(QUICKSTART, 'agent'),
    lock: 'package-lock.json',
    packages: 'node_modules',
    how: 'npm ci in examples/quickstart/agent',
    install: (cwd) => run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], { cwd }),
  },
  python: {
    dir: join(QUICKSTART, 'agent-python'),
    lock: 'requirements.txt',
    packages: 'vendor',
    how: 'pip install --target vendor in examples/quickstart/agent-python',
    install: (cwd) => run('python3', [...PIP, '--requirement', 'requirements.txt', '--target', 'vendor'], { cwd }),
  },
};

/** Installs the packages of an agent, unless those of its lock file (and of this Python) were installed already. */
export const installAgent = async (language: Language, note: (step: string, state: 'start' | 'done', detail: string) => void = () => {}): Promise<void> => {
  const { dir, lock, packages, how, install } = AGENTS[language];
  const version = language === 'python' ? (await run('python3', ['--version'])).stdout : '';
  const wanted = version + (await readFile(join(dir, lock), 'utf8'));
  const stamp = join(dir, packages, '.clrk-installed');
  if ((await readIfExists(stamp)) === wanted) return;
  note('agent packages', 'start', how);
  await rm(join(dir, packages), { recursive: true, force: true });
  await install(dir);
  await mkdir(join(dir, packages), { recursive: true });
  await writeFileAtomic(stamp, wanted);
  note('agent packages', 'done', 'the openai package');
};
