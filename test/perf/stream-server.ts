/**
 * A provider that streams as one does: a token at once, then one each INTERVAL ms, as many as the request's limit says, and the
 * usage; 401 without AUTHORIZATION. `node stream-server.ts IP DIR INTERVAL AUTHORIZATION`, with cert.pem and key.pem in DIR; a line
 * on stdout when it serves.
 */
import { readFileSync } from 'node:fs';
import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';
import { json } from 'node:stream/consumers';

const [ip, dir, interval, authorization] = process.argv.slice(2) as [string, string, string, string];

const event = (choices: readonly object[], usage: object | null): string => {
  const chunk = { id: 'chatcmpl-BkqXv0fJ3pYyVjTQ0a1b2c3d4e5f6', object: 'chat.completion.chunk', created: 1_750_000_000, model: 'gpt-4.1-mini-2025-04-14' };
  return `data: ${JSON.stringify({ ...chunk, choices, usage })}\n\n`;
};
const token = (content: string): string => event([{ index: 0, delta: { role: 'assistant', content }, logprobs: null, finish_reason: null }], null);
/** By turns: LiteLLM ends an answer that says the same again and again. */
const TOKENS = [token(' token'), token(' token,')] as const;
const STOP = event([{ index: 0, delta: {}, logprobs: null, finish_reason: 'stop' }], null);

const serve = async (request: Http2ServerRequest, response: Http2ServerResponse): Promise<void> => {
  const { max_tokens: older, max_completion_tokens: limit = older } = (await json(request)) as { max_tokens?: number; max_completion_tokens?: number };
  response.on('error', () => {});
  if (request.headers.authorization !== authorization) return void response.writeHead(401).end();
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write(TOKENS[0]);
  let left = limit! - 1;
  const end = (): void => {
    clearInterval(timer);
    response.write(STOP);
    response.write(event([], { prompt_tokens: 10, completion_tokens: limit, total_tokens: 10 + limit! }));
    response.end('data: [DONE]\n\n');
  };
  const timer = setInterval(() => (left-- > 0 ? void response.write(TOKENS[left % 2]!) : end()), Number(interval));
  response.once('close', () => clearInterval(timer));
  if (left === 0) end();
};

const server = createSecureServer({ cert: readFileSync(`${dir}/cert.pem`), key: readFileSync(`${dir}/key.pem`), allowHTTP1: true }, (request, response) => {
  serve(request, response).catch(() => response.stream?.close(2));
});
server.on('sessionError', () => {});
server.listen(443, ip, 4096, () => console.log('ready'));
