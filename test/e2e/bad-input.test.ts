import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { processesOf } from './support/leftovers.ts';
import { command } from './support/command.ts';
import { openaiRoute, probeAgent, type Manifest } from './support/manifests.ts';
import { eventually, showLogOnFailure, startStack, type TestStack } from './harness.ts';
import { APP } from '../fixtures/quickstart.ts';

/** Bad input gets a clear error, loses nothing, and does not stop what works. */

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => stack));

const API = 'clrk.apoxy.dev/v1alpha1';

describe('manifests', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(stack.dir, 'manifests-'));
  });

  it('malformed YAML: refused with file and line before anything of the directory is applied', async () => {
    await writeFile(join(dir, 'a.yaml'), JSON.stringify(probeAgent('never')));
    await writeFile(join(dir, 'b.yaml'), `apiVersion: ${API}\nkind: TaskAgent\nmetadata:\n  name: broken\n  labels: [one\nspec: {}\n`);
    const { code, stderr } = await stack.clrk(['apply', '-f', dir]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/b\.yaml:[56]:\d+: /);
    await expect(stack.get('taskagents', 'never')).rejects.toThrow('404');
  });

  it('an unknown kind: refused with its line and what was meant', async () => {
    await writeFile(join(dir, 'a.yaml'), `apiVersion: ${API}\nkind: Taskagent\nmetadata:\n  name: x\n`);
    const { code, stderr } = await stack.clrk(['apply', '-f', dir]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/a\.yaml:2:.*Taskagent.*TaskAgent/);
  });

  it('an unknown field and a wrong value: refused by the API, with their lines', async () => {
    const text = `apiVersion: ${API}\nkind: TaskAgent\nmetadata:\n  name: typo\nspec:\n  workerPoolRef: default\n  timeOut: 5s\n  template:\n    spec:\n      image: x\n`;
    await writeFile(join(dir, 'a.yaml'), text);
    const field = await stack.clrk(['apply', '-f', dir]);
    expect(field.code).toBe(1);
    expect(field.stderr).toMatch(/a\.yaml:7:3: .*spec\.timeOut: unknown field; did you mean timeout/);
    await writeFile(join(dir, 'a.yaml'), text.replace('timeOut: 5s', 'timeout: -5s'));
    const value = await stack.clrk(['apply', '-f', dir]);
    expect(value.code).toBe(1);
    expect(value.stderr).toMatch(/a\.yaml:7:12: .*spec\.timeout/);
    await expect(stack.get('taskagents', 'typo')).rejects.toThrow('404');
  });

  it('one bad object among good ones: the good ones are applied, the bad one is named', async () => {
    await writeFile(join(dir, 'a.yaml'), JSON.stringify(probeAgent('good')));
    await writeFile(join(dir, 'b.yaml'), JSON.stringify(probeAgent('bad', { maxConcurrent: -1 })));
    const { code, stderr } = await stack.clrk(['apply', '-f', dir]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/bad: spec\.maxConcurrent/);
    expect((await stack.get('taskagents', 'good')).metadata.name).toBe('good');
  });

  it('no such file, no path, a Secret without a value: exit 1 and a sentence', async () => {
    for (const [args, message] of [
      [['apply', '-f', join(dir, 'absent.yaml')], /absent\.yaml/],
      [['apply'], /needs a file/],
      [['secret', 'set', 'empty'], /at least one value/],
      [['secret', 'set', 'x', '--from-env', 'a=CLRK_NOT_SET'], /CLRK_NOT_SET/],
      [['agents', 'run-task', 'summarizer', '-i', '@absent.txt'], /absent\.txt/],
    ] as const) {
      const { code, stderr } = await stack.clrk(args);
      expect([code, stderr]).toEqual([1, expect.stringMatching(message)]);
    }
  });
});

describe('what is referred to and missing: a condition on the object, 503 with the reason on trigger', () => {
  const refused = async (agent: string) => {
    const answer = await stack.invoke(agent, { steps: [] });
    return {
      status: answer.status,
      error: (answer.json() as { error: { code: string; reason: string; message: string } }).error,
      invocation: answer.invocation,
    };
  };

  it.each([
    ['pool', { workerPoolRef: 'nowhere' }, 'WorkerPoolNotFound', /nowhere/],
    ['gateway', { egressRefs: [{ gatewayRef: 'nowhere' }] }, 'EgressGatewayNotFound', /nowhere/],
  ])('%s', async (what, spec, reason, message) => {
    await stack.apply(probeAgent(`no-${what}`, spec));
    const condition = await stack.condition('taskagents', `no-${what}`, 'Ready', 'False');
    expect(condition).toMatchObject({ reason, message: expect.stringMatching(message) as string });
    const { status, error, invocation } = await refused(`no-${what}`);
    expect(status).toBe(503);
    expect(error).toMatchObject({ reason, message: expect.stringMatching(message) as string });
    expect((await stack.invocation(invocation)).status).toMatchObject({ phase: 'Rejected', reason });
  });

  it('image', async () => {
    await stack.apply(probeAgent('no-image', {}, { image: 'nobody/built-this:1' }));
    const condition = await eventually('the image is found missing', async () => {
      const found = await stack.condition('taskagents', 'no-image', 'Ready', 'False');
      return found.message.includes('nobody/built-this:1') ? found : undefined;
    });
    const { status, error } = await refused('no-image');
    expect(status).toBe(503);
    expect(error.reason).toBe(condition.reason);
    expect(error.message).toContain('nobody/built-this:1');
  });

  it('Secret of a credential: the request is refused with the reason and never sent without the key', async () => {
    const model = 'gpt-4o-mini';
    const policy: Manifest = {
      apiVersion: API,
      kind: 'CredentialInjectionPolicy',
      metadata: { name: 'a-no-secret', namespace: 'default' },
      spec: {
        parentRefs: [{ group: 'clrk.apoxy.dev', kind: 'AIProviderRoute', name: 'a-no-secret' }],
        secretRef: { name: 'absent' },
        secretKey: 'token',
        target: 'Header',
        headerName: 'Authorization',
      },
    };
    const before = (await stack.seen()).length;
    await stack.apply(probeAgent('no-secret', { egressRefs: [{ gatewayRef: 'keyless' }] }));
    await stack.apply(
      {
        apiVersion: API,
        kind: 'EgressGateway',
        metadata: { name: 'keyless', namespace: 'default' },
        spec: { defaultPolicy: 'deny-all', listeners: [{ name: 'tls', protocol: 'TLS', tls: { mode: 'Terminate' } }] },
      },
      openaiRoute('a-no-secret', 'keyless', [model], 100_000),
      policy,
    );
    await stack.programmed('keyless');
    await stack.condition('taskagents', 'no-secret', 'Ready', 'True');
    const { status } = await stack.get('credentialinjectionpolicies', 'a-no-secret');
    expect(JSON.stringify(status)).toMatch(/SecretNotFound.*absent|absent.*SecretNotFound/);
    const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'hello' }] });
    const { results, invocation } = await stack.probe('no-secret', {
      fetch: {
        url: 'https://api.openai.com/v1/chat/completions',
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: 'Bearer sk-own' },
        body,
      },
    });
    expect(results[0]!['status']).toBe(503);
    expect(results[0]!['body']).toContain('SecretNotFound');
    expect((await stack.seen()).length).toBe(before);
    const [record] = await stack.egressLog(invocation, (all) => all.some(({ reason }) => reason === 'SecretNotFound'));
    expect(record).toMatchObject({ verdict: 'Denied', status: 503 });
  });

  it.for([
    ['delivery', { delivery: { mode: 'Metadata' } }, {}, 'spec.delivery.mode'],
    ['state', { state: { backend: 'sqlite' } }, {}, 'spec.state'],
    ['valuefrom', {}, { env: [{ name: 'KEY', valueFrom: { secretKeyRef: { name: 'openai', key: 'authorization' } } }] }, 'spec.template.spec.env[0].valueFrom'],
  ] as const)('what is not built: Enforced False with the field, 503 with the reason (%s)', async ([name, spec, template, field]) => {
    await stack.apply(probeAgent(`unbuilt-${name}`, spec, template));
    const message = expect.stringContaining(field) as string;
    expect(await stack.condition('taskagents', `unbuilt-${name}`, 'Enforced', 'False')).toMatchObject({ reason: 'NotBuilt', message });
    const { status, error } = await refused(`unbuilt-${name}`);
    expect(status).toBe(503);
    expect(error).toMatchObject({ reason: 'NotBuilt', message });
  });

  it('a rule that refers to what is not built admits nothing, and the route says so', async () => {
    const object = (kind: string, name: string, spec: Record<string, unknown>): Manifest => ({
      apiVersion: API,
      kind,
      metadata: { name, namespace: 'default' },
      spec,
    });
    await stack.apply(
      object('EgressGateway', 'partly', { listeners: [{ name: 'tls', protocol: 'TLS', tls: { mode: 'Terminate' } }] }),
      object('RateLimitPolicy', 'slow', { requests: 1, window: '1m' }),
      object('EgressL4Route', 'limited', {
        parentRefs: [{ kind: 'EgressGateway', name: 'partly' }],
        rules: [
          {
            matches: [{ destinationHostnames: ['example.org'] }],
            filters: [{ type: 'ExtensionRef', extensionRef: { group: 'clrk.apoxy.dev', kind: 'RateLimitPolicy', name: 'slow' } }],
          },
        ],
      }),
      probeAgent('partly', { egressRefs: [{ gatewayRef: 'partly' }] }),
    );
    const { conditions } = await eventually('the route says what does not resolve', async () => {
      const { parents } = ((await stack.get('egressl4routes', 'limited')).status ?? {}) as {
        parents?: { conditions: { type: string; status: string; reason: string }[] }[];
      };
      return parents?.[0]?.conditions.some(({ type, status }) => type === 'ResolvedRefs' && status === 'False') ? parents[0] : undefined;
    });
    expect(conditions).toContainEqual(expect.objectContaining({ type: 'Accepted', status: 'True' }));
    await stack.programmed('partly');
    await stack.condition('taskagents', 'partly', 'Ready', 'True');
    const { results } = await stack.probe('partly', { fetch: { url: 'https://example.org/', method: 'GET' } });
    expect(results[0]!['status']).toBe(403);
    const { reason } = conditions.find(({ type }) => type === 'ResolvedRefs')!;
    expect(JSON.parse(results[0]!['body'] as string)).toMatchObject({ error: { code: reason, route: 'EgressL4Route/default/limited' } });
  });

  it('what was missing and is there now works', async () => {
    await stack.apply({
      apiVersion: API,
      kind: 'WorkerPool',
      metadata: { name: 'nowhere', namespace: 'default' },
      spec: { replicas: 1, template: { image: 'any' } },
    });
    await stack.condition('taskagents', 'no-pool', 'Ready', 'True', 30_000);
    expect((await stack.invoke('no-pool', { steps: [] })).status).toBe(200);
    await stack.api('DELETE', `/apis/${API}/namespaces/default/workerpools/nowhere`);
  });
});

describe('callers', () => {
  it('an unknown agent or path: 404, GET: 405, a bad id: 400, a web page: 403, all as JSON', async () => {
    const { ingress } = stack.urls;
    const send = async (path: string, method: string, headers: Record<string, string> = {}) => {
      const answer = await stack.client.request({
        url: `${ingress}${path}`,
        method,
        headers: { 'content-type': 'application/json', ...headers },
        body: method === 'GET' ? '' : '{}',
      });
      expect(answer.json(), path).toHaveProperty('error.message');
      return answer.status;
    };
    expect(await send('/default/nobody', 'POST')).toBe(404);
    expect(await send('/elsewhere', 'POST')).toBe(404);
    expect(await send('/default/probe', 'GET')).toBe(405);
    expect(await send('/default/probe', 'POST', { 'x-clrk-invocation-id': 'not-a-uuid' })).toBe(400);
    expect(await send('/default/probe', 'POST', { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' })).toBe(403);
    expect(await send('/default/probe', 'POST', { host: 'evil.example' })).toBe(403);
  });

  it('a client without certificate gets nothing from the API', async () => {
    const answer = await stack.client.request({ url: `${stack.urls.api}/api/v1/namespaces/default/secrets` }).catch((error: Error) => error.message);
    expect(answer).toMatch(/certificate|SELF_SIGNED|UNABLE|ECONNRESET/i);
  });
});

describe('clrk dev', () => {
  it('a second one in the same directory is refused and names the pid; the first goes on', async () => {
    const { code, stderr } = await stack.clrk(['dev']);
    expect(code).toBe(1);
    expect(stderr).toContain(String(stack.urls.pid));
    expect((await stack.invoke('probe', { steps: [] })).status).toBe(200);
  });

  it('a missing tool is named, with what installs it, and nothing is started', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'clrk-e2e-tools-'));
    try {
      await mkdir(join(dir, 'tools'));
      const argv = [process.execPath, join(APP, 'src/cmd/clrk.ts'), 'dev', '--clrk-dir', join(dir, 'state')];
      const { code, stderr } = await command(argv, { netns: stack.lab.stack, env: { CLRK_TOOLS: join(dir, 'tools') } });
      expect(code).toBe(1);
      expect(stderr).toMatch(/envoy/i);
      expect(stderr).toContain('clrk setup');
      expect(await processesOf(join(dir, 'state'))).toEqual([]);
      expect(await readdir(join(dir, 'state'))).not.toContain('dev.lock');
    } finally {
      await rm(dir, { recursive: true });
    }
  });

  it('a secret from a variable that is not set is refused before anything starts', async () => {
    const { code, stderr } = await stack.clrk(['dev', '--secret', 'openai=CLRK_NOT_SET:authorization']);
    expect(code).toBe(1);
    expect(stderr).toContain('CLRK_NOT_SET');
  });
});
