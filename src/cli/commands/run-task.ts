import { readFile } from 'node:fs/promises';
import { ClrkError, messageOf, newInvocationId, parseDuration, sleep } from '#lib';
import { NAMESPACE_FLAG, type CommandContext, type CommandSpec } from '../command.ts';
import { printable } from '../output.ts';
import { targetOf, type Target } from '../target.ts';

const EXIT_CODES: Readonly<Record<string, number>> = { Succeeded: 0, Failed: 1, Rejected: 77, Timeout: 124 };
const RUNTIME = '/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces';

/** The bytes of `--input`: text as it is, `@file`, or `-` for stdin. */
const readInput = async (input: string): Promise<Uint8Array> => {
  if (input === '-') {
    const chunks: Buffer[] = [];
    for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks);
  }
  if (!input.startsWith('@')) return Buffer.from(input);
  return readFile(input.slice(1)).catch((error: unknown) => {
    throw new ClrkError('FileUnreadable', { path: input.slice(1), cause: messageOf(error) });
  });
};

const headersOf = ({ flag, flags }: CommandContext, id: string): Record<string, string> => {
  const headers: Record<string, string> = { 'x-clrk-invocation-id': id };
  for (const text of flags('header')) {
    const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(.*)$/.exec(text);
    if (!match) throw new ClrkError('BadArgument', { what: `--header ${printable(text)} is not NAME=VALUE.`, fix: 'For example: -H ce-tenant=acme' });
    headers[match[1]!.toLowerCase()] = match[2]!;
  }
  for (const name of ['type', 'source', 'subject']) if (flag(`ce-${name}`)) headers[`ce-${name}`] = flag(`ce-${name}`)!;
  return headers;
};

/** The phase an invocation ended in; polls, because the answer's own connection may have been lost. */
const terminalPhase = async (
  { client }: Target,
  namespace: string,
  id: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<{ phase: string; message: string } | undefined> => {
  const deadline = performance.now() + timeoutMs;
  for (let wait = 100; ; wait = Math.min(2_000, wait * 2)) {
    const response = await client.request('GET', `${RUNTIME}/${encodeURIComponent(namespace)}/invocations/${id}`);
    const text = await response.body.text();
    if (response.status === 401 || response.status === 403)
      throw new ClrkError('ApiRefused', { what: `reading the invocation was refused: ${text.slice(0, 500)}` });
    if (response.status === 200) {
      const { status } = JSON.parse(text) as { status?: { phase?: string; message?: string } };
      if (status?.phase && status.phase in EXIT_CODES) return { phase: status.phase, message: status.message ?? '' };
    }
    if (performance.now() + wait > deadline) return undefined;
    await sleep(wait, signal);
  }
};

export const runTaskCommand: CommandSpec = {
  path: ['agents', 'run-task'],
  aliases: ['run'],
  summary: 'Run a TaskAgent once and print its answer',
  details: 'Exit code: 0 Succeeded, 1 Failed, 77 Rejected, 124 Timeout (also when --timeout passes first).',
  args: [{ name: 'NAME', help: 'the agent', complete: 'taskagent' }],
  flags: [
    { name: 'input', short: 'i', value: 'INPUT', help: 'request body: text, @file, or - for stdin' },
    { name: 'content-type', value: 'TYPE', default: 'application/json', help: 'media type of the body' },
    { name: 'header', short: 'H', value: 'NAME=VALUE', repeatable: true, help: 'extra request header, e.g. ce-*' },
    { name: 'ce-type', value: 'TYPE', help: 'CloudEvents type' },
    { name: 'ce-source', value: 'URI', help: 'CloudEvents source' },
    { name: 'ce-subject', value: 'TEXT', help: 'CloudEvents subject' },
    { name: 'timeout', value: 'DURATION', default: '1m', help: 'how long to wait for the end' },
    NAMESPACE_FLAG,
  ],
  examples: ['clrk agents run-task summarizer -i @document.txt --content-type text/plain', `clrk agents run-task summarizer -i '{"document":"..."}'`],
  run: async (context) => {
    const { io, global, args, flag } = context;
    const timeoutMs = parseDuration(flag('timeout')!);
    if (timeoutMs === undefined || timeoutMs <= 0)
      throw new ClrkError('BadArgument', { what: `--timeout ${flag('timeout')} is not a positive duration.`, fix: 'For example: 90s.' });
    const target = await targetOf(global, io);
    const namespace = flag('namespace') ?? target.namespace;
    const id = newInvocationId();
    const headers = headersOf(context, id);
    const body = flag('input') === undefined ? undefined : await readInput(flag('input')!);
    if (body) headers['content-type'] = flag('content-type')!;
    io.err(`invocation ${id}\n`);
    const signal = AbortSignal.any([context.signal, AbortSignal.timeout(timeoutMs)]);
    let failed: unknown;
    try {
      const path = `${RUNTIME}/${encodeURIComponent(namespace)}/taskagents/${encodeURIComponent(args[0]!)}/invoke`;
      const answer = await target.client.request('POST', path, { headers, signal, ...(body ? { body } : {}) });
      let last = '\n';
      for await (const chunk of answer.body) {
        io.out((chunk as Buffer).toString());
        last = String.fromCharCode((chunk as Buffer).at(-1) ?? 10);
      }
      if (last !== '\n') io.out('\n');
    } catch (error) {
      failed = error;
    }
    if (context.signal.aborted) throw context.signal.reason;
    const end = await terminalPhase(target, namespace, id, failed ? 6_000 : timeoutMs, context.signal).catch((error: unknown) => {
      throw failed ?? error;
    });
    if (!end) {
      if (failed && !signal.aborted) throw failed;
      io.err(`no end within ${flag('timeout')}\n`);
      return EXIT_CODES['Timeout']!;
    }
    if (end.phase !== 'Succeeded') {
      const inNamespace = namespace === target.namespace ? '' : ` -n ${namespace}`;
      io.err(`${end.phase}${end.message ? `: ${printable(end.message)}` : ''}\nWhat it printed: clrk agents logs ${args[0]}/${id}${inNamespace}\n`);
    }
    return EXIT_CODES[end.phase]!;
  },
};
