/**
 * mockttp as a proxy that changes one header: its own way of passing requests through, with everything off that only tests
 * need. `node mockttp-proxy.ts` with a job (JSON) on stdin; one line on stdout when it serves.
 */
import { readFileSync } from 'node:fs';

/** The part of mockttp's interface that is used; its types are not among our dependencies. */
interface Mockttp {
  generateCACertificate(): Promise<{ key: string; cert: string }>;
  getLocal(options: object): {
    start(port: number): Promise<void>;
    forAnyRequest(): { thenPassThrough(options: object): Promise<unknown> };
  };
}

interface Job {
  readonly module: string;
  readonly port: number;
  readonly upstreamCa: string;
  readonly authorization: string;
}

const job = JSON.parse(readFileSync(0, 'utf8')) as Job;
const mockttp = (await import(job.module)) as Mockttp;
const server = mockttp.getLocal({ https: await mockttp.generateCACertificate(), recordTraffic: false, suggestChanges: false, maxBodySize: 1_000_000 });
await server.start(job.port);
await server.forAnyRequest().thenPassThrough({
  additionalTrustedCAs: [{ cert: job.upstreamCa }],
  transformRequest: { updateHeaders: { authorization: job.authorization } },
});
console.log('ready');
