/** Sequential requests over one kept-alive TLS connection; prints the latency of each in milliseconds as one JSON line. */
import { readFileSync } from 'node:fs';
import { Resolver } from 'node:dns/promises';
import { Agent, request } from 'node:https';

interface Job {
  readonly host: string;
  /** Address to dial; absent = what the sandbox's DNS answers. */
  readonly address?: string;
  readonly ca: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly count: number;
}

const job = JSON.parse(readFileSync(0, 'utf8')) as Job;
const resolver = new Resolver();
resolver.setServers(['198.19.255.3']);
const address = job.address ?? (await resolver.resolve4(job.host))[0]!;
const agent = new Agent({ keepAlive: true, maxSockets: 1, ca: job.ca });

const once = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const begun = performance.now();
    const headers = { host: job.host, 'content-type': 'application/json', 'content-length': Buffer.byteLength(job.body), ...job.headers };
    const call = request({ host: address, port: 443, servername: job.host, method: 'POST', path: '/v1/chat/completions', agent, headers }, (answer) => {
      if (answer.statusCode !== 200) reject(new Error(`status ${answer.statusCode}`));
      answer.resume().once('end', () => resolve(performance.now() - begun));
    });
    call.once('error', reject);
    call.end(job.body);
  });

const latencies: number[] = [];
for (let n = 0; n < job.count; n++) latencies.push(await once());
console.log(JSON.stringify(latencies));
agent.destroy();
