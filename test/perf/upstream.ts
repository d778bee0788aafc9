import { once } from 'node:events';
import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { exited, poll, run, spawnChild } from '#lib';
import { createAuthority, loadSigner } from '#lib/x509';
import type { Lab } from '../../src/supervisor/lab.ts';
import { PROVIDER_HOST } from '../fixtures/openai/server.ts';
import { ensureNginx } from './tools.ts';

/**
 * What every row of the benches talks to: nginx in the fixture namespace, at an address that counts as public, as the provider
 * and as every name below `DOMAIN`. It answers a chat completion, and takes and gives bodies; it costs so little that what is
 * measured is the proxy.
 */
export const UPSTREAM_IP = '203.0.113.10';
export const UPSTREAM_CIDR = '203.0.113.0/24';
export const DOMAIN = 'bench.example';

/** Where a lab has its fixture; the name server is there, too. */
const NAME_SERVER = '10.213.0.2';
/** What to start `clrk dev` with, so that it finds every name at the upstream. */
export const UPSTREAM_ARGS: readonly string[] = ['--upstream-dns', NAME_SERVER];

/** Ports it serves TLS at: one for each kind of listener that is measured. */
export const PORTS = { http: 443, passthrough: 444, tcp: 445 } as const;

export const CHAT_PATH = '/v1/chat/completions';
/** Any request, a few bytes. */
export const HELLO_PATH = '/hello';
export const BODY_PATH = '/bodies/down';
export const UPLOAD_PATH = '/bodies/up';
export const BODY_MB = 200;

const ANSWER = JSON.stringify({
  id: 'chatcmpl-BkqXv0fJ3pYyVjTQ0a1b2c3d4e5f6',
  object: 'chat.completion',
  created: 1_750_000_000,
  model: 'gpt-4.1-mini-2025-04-14',
  choices: [{ index: 0, message: { role: 'assistant', content: 'Hello.', refusal: null }, logprobs: null, finish_reason: 'stop' }],
  usage: { prompt_tokens: 10, completion_tokens: 2, total_tokens: 12 },
});

const config = (dir: string, authorization: string): string => `
user root;
daemon off;
worker_processes 1;
pid ${dir}/nginx.pid;
error_log stderr crit;
events { worker_connections 8192; }
http {
  access_log off;
  server_tokens off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_max_body_size 0;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${dir}/${name};`).join('\n  ')}
  ssl_certificate ${dir}/cert.pem;
  ssl_certificate_key ${dir}/key.pem;
  server {
    ${Object.values(PORTS)
      .map((port) => `listen ${UPSTREAM_IP}:${port} ssl http2;`)
      .join('\n    ')}
    location = ${CHAT_PATH} {
      if ($http_authorization != "${authorization}") { return 401; }
      # The body is read before the answer is given, as providers do; nginx does so for a mirror. A POST to a file is refused (405).
      mirror /nowhere;
      root ${dir};
      error_page 405 =200 @answer;
    }
    location = ${HELLO_PATH} { default_type text/plain; return 200 'hello'; }
    location = /nowhere { internal; return 204; }
    location @answer { default_type application/json; return 200 '${ANSWER}'; }
    location /bodies/ { root ${dir}; default_type application/octet-stream; dav_methods PUT; }
  }
}
`;

export interface BenchUpstream extends AsyncDisposable {
  /** PEM of the authority, and its file. */
  readonly ca: string;
  readonly caFile: string;
  /** What it wants in \`authorization\` of a chat completion. */
  readonly authorization: string;
}

/** Starts it; its files are in memory (\`dir\` has to be on a tmpfs), since what is measured is no disk. */
export const startUpstream = async (lab: Lab, dir: string, authorization: string): Promise<BenchUpstream> => {
  await mkdir(dir, { recursive: true });
  const valid = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 86_400_000) };
  const authority = await createAuthority({ subject: 'CN=clrk bench upstream', ca: { pathLength: 0 }, ...valid });
  const leaf = await (await loadSigner(authority)).issue({ subject: 'CN=bench', usage: 'server', dns: [PROVIDER_HOST, `*.${DOMAIN}`], ...valid });
  const caFile = join(dir, 'ca.pem');
  await writeFile(caFile, authority.certPem);
  await writeFile(join(dir, 'cert.pem'), leaf.certPem);
  await writeFile(join(dir, 'key.pem'), leaf.keyPem, { mode: 0o600 });
  await writeFile(join(dir, 'nginx.conf'), config(dir, authorization));
  for (const path of [BODY_PATH, CHAT_PATH]) {
    await mkdir(dirname(join(dir, path)), { recursive: true });
    await writeFile(join(dir, path), '');
  }
  await truncate(join(dir, BODY_PATH), BODY_MB * 1_000_000);
  await run('ip', ['address', 'add', `${UPSTREAM_IP}/32`, 'dev', 'lo'], { netns: lab.fixture });
  await run('ip', ['route', 'add', UPSTREAM_CIDR, 'via', lab.fixtureIp], { netns: lab.stack });
  const dns = spawnChild(process.execPath, [join(import.meta.dirname, 'name-server.ts'), NAME_SERVER, '53', UPSTREAM_IP], {
    netns: lab.fixture,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await Promise.race([once(dns.stdout!, 'data'), exited(dns)]);
  const child = spawnChild(await ensureNginx(), ['-p', dir, '-c', join(dir, 'nginx.conf')], { netns: lab.fixture, stdio: ['ignore', 'inherit', 'inherit'] });
  await listening(lab.fixture, PORTS.tcp);
  return {
    ca: authority.certPem,
    caFile,
    authorization,
    async [Symbol.asyncDispose]() {
      dns.kill('SIGKILL');
      child.kill('SIGTERM'); // it ends its worker
      await Promise.all([exited(dns), exited(child)]);
    },
  };
};

/** Resolves when somebody listens at the port in the namespace. */
export const listening = (netns: string, port: number): Promise<true> =>
  poll(
    () =>
      run('sh', ['-c', `ss -Hltn 'sport = :${port}' | grep -q .`], { netns }).then(
        () => true as const,
        () => undefined,
      ),
    100,
    AbortSignal.timeout(30_000),
  );
