import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { run, spawnChild, stopChild } from '#lib';
import { createAuthority, loadSigner } from '#lib/x509';
import type { TestStack } from '../../e2e/harness.ts';
import { APP } from '../../fixtures/quickstart.ts';

/** Upstreams that say back what they are sent, and the token endpoint of Google, beside a stack. */

const [IP, TOKEN_IP, DEAD_IP] = ['10.213.9.40', '10.213.9.41', '10.213.9.42'] as const;

export interface SeenByEcho {
  readonly host: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

export interface EchoServers extends AsyncDisposable {
  readonly ip: string;
  readonly tokenIp: string;
  readonly deadIp: string;
  /** PEM of their authority. */
  readonly ca: string;
  readonly seen: readonly SeenByEcho[];
}

export interface EchoOptions {
  readonly hosts: readonly string[];
  readonly tokenHost: string;
  /** Public keys by email, that get tokens. */
  readonly accounts: Readonly<Record<string, string>>;
}

export const startEchoServers = async ({ dir: stackDir, lab }: TestStack, { hosts, tokenHost, accounts }: EchoOptions): Promise<EchoServers> => {
  await using resources = new AsyncDisposableStack();
  for (const ip of [IP, TOKEN_IP, DEAD_IP]) {
    await run('ip', ['address', 'add', `${ip}/32`, 'dev', 'lo'], { netns: lab.fixture });
    await run('ip', ['route', 'add', `${ip}/32`, 'via', lab.fixtureIp], { netns: lab.stack });
  }
  const dir = join(stackDir, 'echo');
  await mkdir(dir);
  const valid = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 86_400_000) };
  const root = await createAuthority({ subject: 'CN=echo', ca: { pathLength: 0 }, ...valid });
  const signer = await loadSigner(root);
  for (const name of [...hosts, tokenHost]) {
    const issued = await signer.issue({ subject: '', usage: 'server', dns: [name], ...valid });
    await writeFile(join(dir, `${name}.pem`), issued.certPem);
    await writeFile(join(dir, `${name}.key`), issued.keyPem);
  }
  await writeFile(join(dir, 'accounts.json'), JSON.stringify(accounts));
  const start = async (name: string, ...argv: readonly string[]) => {
    const child = spawnChild(process.execPath, [join(APP, 'test/fixtures', name, 'main.ts'), ...argv], {
      netns: lab.fixture,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    resources.defer(async () => void (await stopChild(child)));
    const lines = createInterface({ input: child.stdout! });
    await once(lines, 'line');
    return lines;
  };
  const seen: SeenByEcho[] = [];
  (await start('echo', IP, dir, ...hosts)).on('line', (line) => seen.push(JSON.parse(line) as SeenByEcho));
  await start('google-token', TOKEN_IP, join(dir, `${tokenHost}.pem`), join(dir, `${tokenHost}.key`), join(dir, 'accounts.json'));
  const started = resources.move();
  return { ip: IP, tokenIp: TOKEN_IP, deadIp: DEAD_IP, ca: root.certPem, seen, [Symbol.asyncDispose]: () => started.disposeAsync() };
};
