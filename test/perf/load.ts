import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '#lib';
import { withCpu, type PerProcess, type Processes } from './cpu.ts';
import { BODY_MB, BODY_PATH, UPLOAD_PATH } from './upstream.ts';

/** The clients: wrk and curl (C, from the distribution), so that the client is never the slow part. All speak HTTP/1.1 over TLS. */

export interface Target {
  readonly name: string;
  /** Network namespace the client is in. */
  readonly netns: string;
  /** The name in the client hello and in Host. */
  readonly host: string;
  readonly port: number;
  /** Without TLS: a proxy whose clients speak plain HTTP to it. */
  readonly plain?: true;
  /** What a name means there. */
  readonly addressOf: (name: string) => string;
  readonly headers: Readonly<Record<string, string>>;
  /** Processes whose CPU time and memory count as the proxy's; none without a proxy. */
  readonly processes: () => Promise<Processes>;
}

interface Cost {
  /** CPU time of the proxy's processes, ms for each request, connection or MB. */
  readonly cpu: PerProcess;
}

export interface Measured extends Cost {
  /** ms */
  readonly p50: number;
  readonly p99: number;
  /** Requests (or connections) a second. */
  readonly rate: number;
  readonly requests: number;
}

export const urlOf = ({ port, plain }: Target, host: string, path: string): string => {
  const scheme = plain ? 'http' : 'https';
  return `${scheme}://${host}${scheme === 'https' && port === 443 ? '' : `:${port}`}${path}`;
};

export const per = (cpu: PerProcess, count: number): PerProcess => Object.fromEntries(Object.entries(cpu).map(([name, ms]) => [name, ms / count]));

/** Runs a command in the namespace of the target, where the names mean what they mean there. */
export const inside = async (target: Target, names: readonly string[], dir: string, argv: readonly string[]): Promise<string> => {
  const hosts = join(dir, 'hosts');
  await writeFile(hosts, names.map((name) => `${target.addressOf(name)} ${name}\n`).join(''));
  const { stdout } = await run('unshare', ['-m', 'sh', '-c', 'mount --bind "$0" /etc/hosts && exec "$@"', hosts, ...argv], { netns: target.netns });
  return stdout;
};

export const withDir = async <T>(work: (dir: string) => Promise<T>): Promise<T> => {
  const dir = await mkdtemp(join(tmpdir(), 'clrk-load-'));
  return work(dir).finally(() => rm(dir, { recursive: true, force: true }));
};

const script = (body: string, headers: Readonly<Record<string, string>>, pauseMs: number): string => `
wrk.method = "POST"
${pauseMs > 0 ? `delay = function() return ${pauseMs} end` : ''}
wrk.body = ${JSON.stringify(body)}
${Object.entries({ 'content-type': 'application/json', ...headers })
  .map(([name, value]) => `wrk.headers[${JSON.stringify(name)}] = ${JSON.stringify(value)}`)
  .join('\n')}
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('\\n{"requests":%d,"us":%d,"p50":%d,"p99":%d,"errors":%d}\\n', summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
`;

/** A POST of JSON. */
export interface Question {
  readonly path: string;
  readonly body: string;
}

export interface Load extends Question {
  readonly connections: number;
  readonly seconds: number;
  /** A connection waits this long before each request: whole ms, none by default. */
  readonly pauseMs?: number;
}

/** Asks once; throws with what was answered when that is not the answer of the upstream. */
export const ask = (target: Target, { path, body }: Question): Promise<void> =>
  withDir(async (dir) => {
    const headers = Object.entries({ 'content-type': 'application/json', ...target.headers }).flatMap(([name, value]) => ['--header', `${name}: ${value}`]);
    const curl = [
      'curl',
      '--http1.1',
      '--silent',
      '--insecure',
      '--show-error',
      '--include',
      '--data-binary',
      body,
      ...headers,
      urlOf(target, target.host, path),
    ];
    const answer = await inside(target, [target.host], dir, curl);
    if (!answer.startsWith('HTTP/1.1 200')) throw new Error(`${target.name} answers:\n${answer}`);
  });

/** Requests on connections kept alive. An answer other than 2xx is an error of the bench: what refuses is fast. */
export const measure = (target: Target, { path, body, connections, seconds, pauseMs = 0 }: Load): Promise<Measured> =>
  withDir(async (dir) => {
    const lua = join(dir, 'load.lua');
    await writeFile(lua, script(body, target.headers, pauseMs));
    const url = urlOf(target, target.host, path);
    const wrk = ['wrk', '-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '20s', '-s', lua, url];
    const [stdout, cpu] = await withCpu(await target.processes(), () => inside(target, [target.host], dir, wrk));
    const { requests, us, p50, p99, errors } = JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, number>;
    if (errors! > 0 || requests === 0) throw new Error(`${target.name}: ${errors} of ${requests} requests failed\n${stdout}`);
    return { p50: p50! / 1000, p99: p99! / 1000, rate: (requests! * 1e6) / us!, cpu: per(cpu, requests!), requests: requests! };
  });

export const quantile = (sorted: readonly number[], q: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))]!;

/** A TLS connection and one request for each name of a list, 16 in flight. Times are those of the handshake (TCP and TLS). */
export const measureConnects = (target: Target, { path, body }: Question, names: readonly string[]): Promise<Measured> =>
  withDir(async (dir) => {
    const [config, data] = [join(dir, 'curl.conf'), join(dir, 'body.json')];
    await writeFile(data, body);
    const headers = Object.entries({ 'content-type': 'application/json', ...target.headers, connection: 'close' }).map(
      ([name, value]) => `header = "${name}: ${value}"`,
    );
    const format = String.raw`write-out = "\n%{http_code} %{time_appconnect}\n"`;
    const transfer = (name: string): string =>
      ['http1.1', 'silent', 'insecure', `data-binary = "@${data}"`, `url = "${urlOf(target, name, path)}"`, 'output = "/dev/null"', format, ...headers].join(
        '\n',
      );
    await writeFile(config, names.map(transfer).join('\nnext\n'));
    const curl = ['curl', '--parallel', '--parallel-immediate', '--parallel-max', '16', '--config', config];
    const begun = performance.now();
    const [stdout, cpu] = await withCpu(await target.processes(), () => inside(target, [...new Set(names)], dir, curl));
    const seconds = (performance.now() - begun) / 1000;
    const answers = stdout
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split(' ').map(Number));
    const failed = names.length - answers.filter(([status]) => status === 200).length;
    if (failed > 0) throw new Error(`${target.name}: ${failed} of ${names.length} connections failed: ${answers.find(([status]) => status !== 200)?.[0]}`);
    const times = answers.map(([, time]) => time! * 1000).toSorted((a, b) => a - b);
    return { p50: quantile(times, 0.5), p99: quantile(times, 0.99), rate: names.length / seconds, cpu: per(cpu, names.length), requests: names.length };
  });

export interface Transfer extends Cost {
  /** MB a second. */
  readonly speed: number;
}

/** One body of BODY_MB, from the upstream or to it. */
export const measureBody = (target: Target, direction: 'down' | 'up', file: string): Promise<Transfer> =>
  withDir(async (dir) => {
    const url = urlOf(target, target.host, direction === 'down' ? BODY_PATH : UPLOAD_PATH);
    const args = direction === 'down' ? [] : ['--upload-file', file, '--header', 'Expect:'];
    const curl = [
      'curl',
      '--http1.1',
      '--silent',
      '--insecure',
      '--output',
      '/dev/null',
      '--write-out',
      `%{http_code} %{speed_${direction}load}`,
      ...args,
      url,
    ];
    const [stdout, cpu] = await withCpu(await target.processes(), () => inside(target, [target.host], dir, curl));
    const [status, speed] = stdout.trim().split(' ').map(Number);
    if (Math.floor(status! / 100) !== 2) throw new Error(`${target.name}: body ${direction}: status ${status}`);
    return { speed: speed! / 1e6, cpu: per(cpu, BODY_MB) };
  });

export const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length / 2;
  return sorted.length % 2 === 1 ? sorted[Math.floor(half)]! : (sorted[half - 1]! + sorted[half]!) / 2;
};

/** The runs of one target as one: of every number the median of the rounds, so that one disturbed round counts for nothing. */
export const merge = (runs: readonly Measured[]): Measured => {
  const of = (value: (run: Measured) => number): number => median(runs.map(value));
  return {
    p50: of(({ p50 }) => p50),
    p99: of(({ p99 }) => p99),
    rate: of(({ rate }) => rate),
    cpu: Object.fromEntries(Object.keys(runs[0]!.cpu).map((name) => [name, of(({ cpu }) => cpu[name]!)])),
    requests: runs.reduce((sum, one) => sum + one.requests, 0),
  };
};
