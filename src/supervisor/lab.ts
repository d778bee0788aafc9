import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { run } from '#lib';
import { lockHolder, takeLock } from './lock.ts';
import { removeRunDir, unmountUnder } from './run-dir.ts';

/** Two network namespaces joined by one veth and to nothing else: a stack in one, a stand-in for a provider in the other. */
export interface Lab {
  /** Files of the namespaces, for `nsenter --net=`. */
  readonly stack: string;
  readonly fixture: string;
  /** Addresses of the two ends of the veth, without prefix length (/30). */
  readonly stackIp: string;
  readonly fixtureIp: string;
}

const STACK_IP = '10.213.0.1';
const FIXTURE_IP = '10.213.0.2';
const OWNER = 'owner';

/** Labs beside `dir` whose owner was killed. */
const sweep = async (dir: string): Promise<void> => {
  for (const name of await readdir(dirname(dir))) {
    const other = join(dirname(dir), name);
    // No owner, or one that is just being written: not ours to judge.
    if (name === basename(dir) || !(await readFile(join(other, OWNER), 'utf8').catch(() => ''))) continue;
    if ((await lockHolder(join(other, OWNER))) === undefined) await removeRunDir(other);
  }
};

const newNamespace = async (file: string, signal?: AbortSignal): Promise<void> => {
  await writeFile(file, '', { flag: 'wx', mode: 0o400 });
  await run('unshare', [`--net=${file}`, '--', 'ip', 'link', 'set', 'lo', 'up'], { signal });
};

/** Without link-local IPv6 addresses: the /30 is all there is. */
const addressOf = async (netns: string, ip: string, signal?: AbortSignal): Promise<void> => {
  for (const args of [
    ['link', 'set', 'uplink0', 'addrgenmode', 'none'],
    ['address', 'add', `${ip}/30`, 'dev', 'uplink0'],
    ['link', 'set', 'uplink0', 'up'],
  ]) {
    await run('ip', args, { netns, signal });
  }
};

/**
 * Makes the two namespaces with their files in `dir`, which goes with the lab. The veth is made inside one namespace with
 * its peer put straight into the other, so nothing ever appears in the namespace of the caller and labs never meet.
 * Throws StackRunning while another process owns a lab of this directory; sweeps what killed owners left beside it.
 */
export const createLab = async (dir: string, { signal }: { signal?: AbortSignal } = {}): Promise<Lab & AsyncDisposable> => {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await using made = new AsyncDisposableStack();
  made.use(await takeLock(join(dir, OWNER), dir));
  // A namespace goes when its file is unmounted and the last process in it has ended; its end of the veth takes the other along.
  made.defer(() => removeRunDir(dir));
  await sweep(dir);

  const [stack, fixture] = [join(dir, 'stack.netns'), join(dir, 'fixture.netns')];
  await unmountUnder(dir);
  await Promise.all([rm(stack, { force: true }), rm(fixture, { force: true })]);
  await Promise.all([newNamespace(stack, signal), newNamespace(fixture, signal)]);
  const veth = ['link', 'add', 'uplink0', 'type', 'veth', 'peer', 'name', 'uplink0', 'netns', fixture];
  await run('ip', veth, { netns: stack, signal });
  await addressOf(stack, STACK_IP, signal);
  await addressOf(fixture, FIXTURE_IP, signal);

  const all = made.move();
  return { stack, fixture, stackIp: STACK_IP, fixtureIp: FIXTURE_IP, [Symbol.asyncDispose]: () => all.disposeAsync() };
};
