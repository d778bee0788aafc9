/**
 * Asks for streamed answers: `node stream-client.ts URL` with a job (JSON) on stdin; prints `{"firsts", "gaps", "complete"}`: ms to
 * the first token of each answer, ms between tokens, and how many answers had all of theirs.
 */
import { readFileSync } from 'node:fs';
import { Agent as HttpAgent, request as http } from 'node:http';
import { Agent, request as https } from 'node:https';

interface Job {
  readonly headers: Readonly<Record<string, string>>;
  readonly model: string;
  /** Answers in all, and how many at a time. */
  readonly count: number;
  readonly parallel: number;
  /** Of one answer. */
  readonly tokens: number;
}

const url = process.argv[2]!;
const { headers, model, count, parallel, tokens } = JSON.parse(readFileSync(0, 'utf8')) as Job;
const secure = url.startsWith('https:');
const agent = secure ? new Agent({ keepAlive: true, rejectUnauthorized: false }) : new HttpAgent({ keepAlive: true });
const body = JSON.stringify({
  model,
  stream: true,
  stream_options: { include_usage: true },
  max_completion_tokens: tokens,
  messages: [{ role: 'user', content: 'Say hello.' }],
});

const firsts: number[] = [];
const gaps: number[] = [];
let complete = 0;

const ask = (): Promise<void> =>
  new Promise((resolve) => {
    const begun = performance.now();
    let [last, seen, ended] = [0, 0, false];
    const asked = (secure ? https : http)(url, { method: 'POST', agent, headers: { 'content-type': 'application/json', ...headers } }, (response) => {
      response.setEncoding('latin1').on('data', (text: string) => {
        const now = performance.now();
        const found = text.split('" token').length - 1;
        if (found > 0) {
          if (seen === 0) firsts.push(now - begun);
          else gaps.push(now - last);
          last = now;
          seen += found;
        }
        ended ||= text.includes('[DONE]');
      });
      response.once('close', () => {
        if (response.statusCode === 200 && ended && seen === tokens) complete++;
        resolve();
      });
    });
    asked.once('error', () => resolve());
    asked.end(body);
  });

let next = 0;
const lane = async (): Promise<void> => {
  while (next++ < count) await ask();
};
await Promise.all(Array.from({ length: parallel }, lane));
agent.destroy();
process.stdout.write(JSON.stringify({ firsts, gaps, complete }), () => process.exit(0));
