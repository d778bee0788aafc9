import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '#lib';

/** The load: wrk (C, one thread, HTTP/1.1 over TLS, from the distribution), so that the client is never the slow part. */

export interface Target {
  readonly name: string;
  /** Network namespace the client is in. */
  readonly netns: string;
  /** What the provider's name means there. */
  readonly address: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Processes whose CPU time and memory count as the proxy's. */
  readonly pids: () => Promise<readonly number[]>;
}

export interface Measured {
  /** ms */
  readonly p50: number;
  readonly p99: number;
  /** Requests a second. */
  readonly rate: number;
  /** CPU time of the proxy's processes, ms a request. */
  readonly cpu: number;
  readonly requests: number;
}

export const ensureWrk = async (): Promise<void> => {
  if (existsSync('/usr/bin/wrk')) return;
  await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'wrk'], { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } });
};

const TICK_MS = 10;

/** CPU time of processes so far, in ms (utime + stime of /proc/PID/stat, fields 14 and 15). */
export const cpuOf = async (pids: readonly number[]): Promise<number> => {
  const times = await Promise.all(
    pids.map(async (pid) => {
      const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ').at(-1)!.split(' ');
      return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
    }),
  );
  return times.reduce((sum, time) => sum + time, 0);
};

/** Resident memory of processes, MiB. */
export const rssOf = async (pids: readonly number[]): Promise<number> => {
  const sizes = await Promise.all(pids.map(async (pid) => Number(/^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024));
  return sizes.reduce((sum, size) => sum + size, 0);
};

const script = (body: string, headers: Readonly<Record<string, string>>): string => `
wrk.method = "POST"
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

export interface Load {
  readonly host: string;
  readonly path: string;
  readonly body: string;
  readonly connections: number;
  readonly seconds: number;
  /** A new TLS connection for each request. */
  readonly reconnect?: boolean;
}

/** Runs a load against a target. An answer other than 2xx is an error of the bench: what refuses is fast. */
export const measure = async (dir: string, target: Target, load: Load): Promise<Measured> => {
  const [lua, hosts] = [join(dir, 'load.lua'), join(dir, 'hosts')];
  await writeFile(lua, script(load.body, { ...target.headers, ...(load.reconnect && { connection: 'close' }) }));
  await writeFile(hosts, `${target.address} ${load.host}\n`);
  const pids = await target.pids();
  const before = await cpuOf(pids);
  const wrk = ['wrk', '-t1', `-c${load.connections}`, `-d${load.seconds}s`, '--timeout', '20s', '-s', lua, `https://${load.host}${load.path}`];
  // A mount namespace of its own, in which the name means the target.
  const { stdout } = await run('unshare', ['-m', 'sh', '-c', 'mount --bind "$0" /etc/hosts && exec "$@"', hosts, ...wrk], { netns: target.netns });
  const cpu = (await cpuOf(pids)) - before;
  const { requests, us, p50, p99, errors } = JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, number>;
  if (errors! > 0 || requests === 0) throw new Error(`${target.name}: ${errors} of ${requests} requests failed\n${stdout}`);
  return { p50: p50! / 1000, p99: p99! / 1000, rate: (requests! * 1e6) / us!, cpu: cpu / requests!, requests: requests! };
};

/** The runs of one target as one: rates and CPU by requests, quantiles as the mean of the rounds. */
export const merge = (runs: readonly Measured[]): Measured => {
  const mean = (of: (run: Measured) => number): number => runs.reduce((sum, one) => sum + of(one), 0) / runs.length;
  const requests = runs.reduce((sum, one) => sum + one.requests, 0);
  return { p50: mean(({ p50 }) => p50), p99: mean(({ p99 }) => p99), rate: mean(({ rate }) => rate), cpu: mean(({ cpu }) => cpu), requests };
};
