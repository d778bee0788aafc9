import { once } from 'node:events';
import { chmod, cp, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { exited, run as runCommand, spawnChild } from '#lib';
import type { Lab } from '../../src/supervisor/lab.ts';
import { APP } from '../fixtures/quickstart.ts';
import { ADDRESSES } from '../fixtures/guides/places.ts';
import { prepareStack, showLogOnFailure, TOOLS, type TestStack } from './harness.ts';
import { command } from './support/command.ts';
import { executeGuide } from './support/guide.ts';

/** The guides of docs/guides, executed block by block as a new user would. */

const GUIDES = join(APP, 'docs', 'guides');
const CA_SECRET = 'lab-ca';

let stack: TestStack;
let shims: string;
const resources = new AsyncDisposableStack();

/** Everything the guides reach, beside the stack: on addresses of the fixture's loopback, which the stack has a route to. */
const startInternet = async (lab: Lab, dir: string): Promise<void> => {
  for (const address of ADDRESSES) {
    await runCommand('ip', ['address', 'add', `${address}/32`, 'dev', 'lo'], { netns: lab.fixture });
    await runCommand('ip', ['route', 'add', `${address}/32`, 'via', lab.fixtureIp], { netns: lab.stack });
  }
  const argv = [join(APP, 'test/fixtures/guides/main.ts'), '--dns', lab.fixtureIp, '--dir', dir];
  const child = spawnChild(process.execPath, argv, { netns: lab.fixture, stdio: ['ignore', 'pipe', 'inherit'] });
  resources.defer(async () => {
    child.kill('SIGKILL');
    await exited(child);
  });
  await once(createInterface({ input: child.stdout! }), 'line');
};

/** A gateway of a guide trusts whom everybody trusts; who signed the certificates of the lab is known to nobody. */
const trustLab = (text: string): string =>
  parseAllDocuments(text)
    .map((document) => {
      if (document.get('kind') === 'EgressGateway') document.setIn(['spec', 'upstreamTLS', 'additionalTrustBundleSecretRef'], { name: CA_SECRET });
      return document.toString({ flowCollectionPadding: false, lineWidth: 0 });
    })
    .join('');

beforeAll(async () => {
  stack = await prepareStack({ devArgs: ['--upstream-dns', '10.213.0.2:53'] });
  await startInternet(stack.lab, join(stack.dir, 'internet'));
  await stack.start();
  const { code, stderr } = await stack.clrk(['secret', 'set', CA_SECRET, '--from-file', `ca.crt=${join(stack.dir, 'internet', 'ca.pem')}`]);
  expect(code, stderr).toBe(0);
  shims = join(stack.dir, 'bin');
  await mkdir(shims);
  await writeFile(join(shims, 'clrk'), `#!/bin/sh\nexec '${process.execPath}' '${join(APP, 'src/cmd/clrk.ts')}' "$@"\n`);
  await chmod(join(shims, 'clrk'), 0o755);
});
afterAll(async () => {
  await stack?.[Symbol.asyncDispose]();
  await resources.disposeAsync();
});
beforeEach(() => showLogOnFailure(() => stack));

const guides = (await readdir(GUIDES)).filter((name) => name.endsWith('.md'));

it('there are guides', () => expect(guides.length).toBeGreaterThanOrEqual(3));

it.each(guides)(
  '%s does what it says',
  async (name) => {
    const cwd = join(stack.dir, name.replace(/\.md$/, ''));
    await cp(join(APP, 'examples', 'try'), join(cwd, 'examples', 'try'), { recursive: true });
    const env = { PATH: `${shims}:${process.env['PATH']}`, CLRK_DIR: stack.state, CLRK_TOOLS: TOOLS };
    await executeGuide(join(GUIDES, name), {
      cwd,
      run: (script) => command(['bash', '-euo', 'pipefail', '-c', script], { netns: stack.lab.stack, cwd, env }),
      adapt: (text) => (text.includes('kind: EgressGateway') ? trustLab(text) : text),
      retryMs: 30_000,
    });
  },
  300_000,
);
