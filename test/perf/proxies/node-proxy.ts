/**
 * What one would write in an afternoon: a TLS-terminating proxy on plain Node for one name, which replaces the credential and
 * encrypts again. It keeps connections to the upstream alive and streams both ways; no policy, no budget, no record.
 * `node node-proxy.ts` with a job (JSON) on stdin; one line on stdout when it serves.
 */
import { readFileSync } from 'node:fs';
import { Agent, createServer, request } from 'node:https';

interface Job {
  readonly port: number;
  readonly host: string;
  readonly key: string;
  readonly cert: string;
  readonly upstreamCa: string;
  readonly authorization: string;
}

const job = JSON.parse(readFileSync(0, 'utf8')) as Job;
const agent = new Agent({ keepAlive: true, ca: job.upstreamCa });

const server = createServer({ key: job.key, cert: job.cert }, (incoming, answer) => {
  const { connection: _, ...headers } = incoming.headers;
  const onward = request({
    agent,
    host: job.host,
    port: 443,
    method: incoming.method,
    path: incoming.url,
    headers: { ...headers, authorization: job.authorization },
  });
  onward.once('response', (got) => {
    const { connection: __, 'keep-alive': ___, ...back } = got.headers; // these are of one connection (RFC 9110 7.6.1)
    answer.writeHead(got.statusCode!, back);
    got.pipe(answer);
  });
  onward.once('error', () => answer.headersSent || answer.writeHead(502).end());
  incoming.pipe(onward);
});
server.listen(job.port, '0.0.0.0', () => console.log('ready'));
