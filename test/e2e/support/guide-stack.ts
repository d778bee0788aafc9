import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmod, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseAllDocuments } from 'yaml';
import { exited, run as runCommand, spawnChild } from '#lib';
import type { Lab } from '../../../src/supervisor/lab.ts';
import { ADDRESSES, LLM_HOSTS, MCP, MCP_HOST, MODELS } from '../../fixtures/guides/places.ts';
import type { McpCredential } from '../../fixtures/mcp/index.ts';
import type { ProviderKeys } from '../../fixtures/providers/main.ts';
import { APP } from '../../fixtures/quickstart.ts';
import { prepareStack, TOOLS, type TestStack } from '../harness.ts';
import { command } from './command.ts';
import { executeGuide } from './guide.ts';

/** A stack for guides, and everything they reach: on addresses of the fixture's loopback, which the stack has a route to. */

export const GUIDES = join(APP, 'docs', 'guides');
/** Those that ask every provider take longer than the first tier has: test/long executes them. */
export const LONG_GUIDES: readonly string[] = ['budgets.md', 'credentials.md', 'mcp.md'];
const CA_SECRET = 'lab-ca';

export interface GuideStack extends AsyncDisposable {
  readonly stack: TestStack;
  /** Executes a guide of docs/guides from its beginning to its end. */
  execute(name: string): Promise<void>;
}

/** Of a service account: the file its owner has, and what Google knows of it. */
const EMAIL = 'agents@my-project.iam.gserviceaccount.com';
const serviceAccount = () => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const file = { type: 'service_account', client_email: EMAIL, private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }) };
  return { file: JSON.stringify(file), publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString() };
};

const key = (): string => randomBytes(24).toString('base64url');

/** What a user has in the shell to begin with: keys of each provider, and a token of an MCP server and the next one. */
const accounts = () => {
  const env = {
    OPENAI_API_KEY: `sk-proj-${key()}`,
    ANTHROPIC_API_KEY: `sk-ant-api03-${key()}`,
    GEMINI_API_KEY: `AIza${key()}`,
    AZURE_OPENAI_API_KEY: key(),
    AWS_ACCESS_KEY_ID: `AKIA${randomBytes(8).toString('hex').toUpperCase()}`,
    AWS_SECRET_ACCESS_KEY: key(),
    LLM_API_KEY: key(),
    NOTES_TOKEN: key(),
    NEXT_NOTES_TOKEN: key(),
  };
  const keys: ProviderKeys = {
    openai: env.OPENAI_API_KEY,
    azure: { apiKey: env.AZURE_OPENAI_API_KEY, hosts: [LLM_HOSTS.azure], deployments: { 'prod-chat': 'gpt-4.1-mini' } },
    custom: { apiKey: env.LLM_API_KEY, hosts: [LLM_HOSTS.custom] },
    anthropic: env.ANTHROPIC_API_KEY,
    google: { apiKey: env.GEMINI_API_KEY, accessToken: `ya29.${key()}` },
    bedrock: { accessKeyId: env.AWS_ACCESS_KEY_ID, secretAccessKey: env.AWS_SECRET_ACCESS_KEY },
  };
  return { env, keys };
};

/** A gateway of a guide trusts whom everybody trusts; who signed the certificates of the lab is known to nobody. */
const trustLab = (text: string): string =>
  parseAllDocuments(text)
    .map((document) => {
      if (document.get('kind') === 'EgressGateway') document.setIn(['spec', 'upstreamTLS', 'additionalTrustBundleSecretRef'], { name: CA_SECRET });
      return document.toString({ flowCollectionPadding: false, lineWidth: 0 });
    })
    .join('');

const startGuideStack = async (resources: AsyncDisposableStack): Promise<Omit<GuideStack, keyof AsyncDisposable>> => {
  const stack = resources.use(await prepareStack({ devArgs: ['--upstream-dns', '10.213.0.2:53'] }));
  const internet = join(stack.dir, 'internet');
  const models = join(stack.dir, 'models');
  const { env: keys, keys: realKeys } = accounts();

  const startFixture = async (lab: Lab, program: string, ...args: string[]): Promise<void> => {
    const child = spawnChild(process.execPath, [join(APP, 'test', 'fixtures', program), ...args], { netns: lab.fixture, stdio: ['ignore', 'pipe', 'inherit'] });
    resources.defer(async () => {
      child.kill('SIGKILL');
      await exited(child);
    });
    const line = await Promise.race([once(createInterface({ input: child.stdout! }), 'line'), exited(child)]);
    if (!Array.isArray(line)) throw new Error(`${program} ended`);
  };
  for (const address of ADDRESSES) {
    await runCommand('ip', ['address', 'add', `${address}/32`, 'dev', 'lo'], { netns: stack.lab.fixture });
    await runCommand('ip', ['route', 'add', `${address}/32`, 'via', stack.lab.fixtureIp], { netns: stack.lab.stack });
  }
  const account = serviceAccount();
  const accountFile = join(stack.dir, 'service-account.json');
  await writeFile(accountFile, account.file);
  const googleAccounts = { [EMAIL]: { publicKey: account.publicKey, token: realKeys.google.accessToken } };
  await startFixture(stack.lab, 'guides/main.ts', '--dns', stack.lab.fixtureIp, '--dir', internet, '--accounts', JSON.stringify(googleAccounts));
  const notes = join(stack.dir, 'notes');
  await mkdir(notes);
  const wanted: McpCredential = { in: 'header', name: 'authorization', values: [keys.NOTES_TOKEN, keys.NEXT_NOTES_TOKEN].map((token) => `Bearer ${token}`) };
  await writeFile(join(notes, 'credentials.json'), JSON.stringify({ [MCP_HOST]: wanted }));
  await startFixture(stack.lab, 'mcp/main.ts', '--listen', `${MCP}:443`, '--dir', notes, '--hosts', MCP_HOST);
  await startFixture(stack.lab, 'providers/main.ts', '--listen', `${MODELS}:443`, '--dir', models, '--keys', JSON.stringify(realKeys));

  await stack.start();
  const authorities = await Promise.all([internet, models, notes].map((dir) => readFile(join(dir, 'ca.pem'), 'utf8')));
  await stack.secret(CA_SECRET, { 'ca.crt': authorities.join('') });
  const shims = join(stack.dir, 'bin');
  await mkdir(shims);
  await writeFile(join(shims, 'clrk'), `#!/bin/sh\nexec '${process.execPath}' '${join(APP, 'src/cmd/clrk.ts')}' "$@"\n`);
  await chmod(join(shims, 'clrk'), 0o755);

  return {
    stack,
    execute: async (name) => {
      const cwd = join(stack.dir, name.replace(/\.md$/, ''));
      for (const example of ['try', 'ask', 'mcp']) await cp(join(APP, 'examples', example), join(cwd, 'examples', example), { recursive: true });
      const env = { ...keys, GOOGLE_APPLICATION_CREDENTIALS: accountFile, PATH: `${shims}:${process.env['PATH']}`, CLRK_DIR: stack.state, CLRK_TOOLS: TOOLS };
      await executeGuide(join(GUIDES, name), {
        cwd,
        run: (script) => command(['bash', '-euo', 'pipefail', '-c', script], { netns: stack.lab.stack, cwd, env }),
        adapt: (text) => (text.includes('kind: EgressGateway') ? trustLab(text) : text),
        retryMs: 30_000,
      });
    },
  };
};

export const prepareGuides = async (): Promise<GuideStack> => {
  const resources = new AsyncDisposableStack();
  try {
    const guides = await startGuideStack(resources);
    return { ...guides, [Symbol.asyncDispose]: () => resources.disposeAsync() };
  } catch (error) {
    await resources.disposeAsync();
    throw error;
  }
};
