import { ClrkError } from '#lib';
import { NAMESPACE_FLAG, sinceOf, type CommandContext, type CommandSpec } from '../command.ts';
import { explainMissing, fetchLogs, followLogs, logText, MAX_PAGE, type LogLine, type LogSource } from '../logs.ts';
import { printable, type Io } from '../output.ts';
import { targetOf, type Target } from '../target.ts';

const oneOf = <T extends string>(flag: string, value: string | undefined, allowed: readonly T[]): T | undefined => {
  if (value === undefined || allowed.includes(value as T)) return value as T | undefined;
  throw new ClrkError('BadArgument', { what: `--${flag} ${printable(value)} is none of ${allowed.join(', ')}.`, fix: `For example: --${flag} ${allowed[0]}` });
};

const filterOf = ({ args, flag }: CommandContext): Omit<LogSource, 'namespace'> => {
  const [agent = '', invocation, ...more] = args[0]!.split('/');
  if (agent === '' || invocation === '' || more.length > 0)
    throw new ClrkError('BadArgument', {
      what: `${printable(args[0]!)} is neither NAME nor NAME/INVOCATION.`,
      fix: 'The namespace is given with -n. See `clrk agents invocations NAME` for invocations.',
    });
  return { agent, invocation, component: flag('component'), iostream: oneOf('iostream', flag('iostream'), ['stdout', 'stderr']) };
};

const tailOf = ({ flag }: CommandContext): number => {
  const text = flag('tail')!;
  const lines = /^\d{1,9}$/.test(text) ? Number(text) : NaN;
  if (lines <= MAX_PAGE) return lines || MAX_PAGE;
  throw new ClrkError('BadArgument', { what: `--tail ${printable(text)} is not a number of 0 to ${MAX_PAGE}.`, fix: 'For more lines, use --since.' });
};

/** What there is already: the newest lines, or all since a time. */
async function* present(target: Target, source: LogSource, tail: number, since: string | undefined): AsyncGenerator<readonly LogLine[], void> {
  if (since === undefined) return yield await fetchLogs(target, source, { limit: tail });
  for (let after = 0, page; (page = await fetchLogs(target, source, { limit: MAX_PAGE, since, after })).length > 0; after = page.at(-1)!.position) yield page;
}

interface View {
  readonly io: Io;
  readonly asJson: boolean;
  readonly tail: number;
  readonly since: string | undefined;
}

const viewOf = (context: CommandContext): View => {
  const { io, flag } = context;
  const color = oneOf('color', flag('color'), ['auto', 'always', 'never']);
  return {
    io: { ...io, terminal: color === 'always' || (color === 'auto' && io.terminal) },
    asJson: oneOf('output', flag('output'), ['json']) === 'json',
    tail: tailOf(context),
    since: flag('since') === undefined ? undefined : sinceOf(flag('since')!),
  };
};

const print = async (context: CommandContext, target: Target, source: LogSource, { io, asJson, tail, since }: View): Promise<void> => {
  let last = 0;
  const show = (line: LogLine): void => {
    io.out(asJson ? `${JSON.stringify(line)}\n` : logText(io, line, source.invocation !== undefined));
    last = Math.max(last, line.position);
  };
  let count = 0;
  for await (const lines of present(target, source, tail, since)) {
    lines.forEach(show);
    count += lines.length;
  }
  if (!context.has('follow')) {
    if (count === 0) io.err('No lines.\n');
    return;
  }
  const onTrouble = (what: string): void => io.err(`the logs cannot be read (${printable(what)}); trying again\n`);
  for await (const line of followLogs(target, source, { after: last, since, signal: context.signal, onTrouble })) show(line);
};

export const agentsLogsCommand: CommandSpec = {
  path: ['agents', 'logs'],
  aliases: ['log'],
  summary: 'Show what the runs of an agent printed',
  details:
    'Reads the record store; a line appears about a second after it was printed, and is kept 7 days. With -f it goes on until Ctrl-C, or until the run is over when there is an INVOCATION.',
  args: [{ name: 'NAME[/INVOCATION]', help: 'the agent, or one run of it', complete: 'agent' }],
  flags: [
    { name: 'follow', short: 'f', help: 'go on with lines as they come' },
    { name: 'tail', value: 'LINES', default: '0', help: 'begin with the newest LINES; 0 = 1000, which is the most' },
    { name: 'since', value: 'TIME', help: 'begin after a duration ago (10m) or an RFC 3339 time, instead of --tail' },
    { name: 'component', value: 'NAMES', help: 'comma list of parts of the platform: worker' },
    { name: 'iostream', value: 'STREAM', help: 'stdout or stderr (default: both, and what the worker says)', complete: ['stdout', 'stderr'] },
    { name: 'color', value: 'WHEN', default: 'auto', help: 'auto, always or never', complete: ['auto', 'always', 'never'] },
    { name: 'output', short: 'o', value: 'FORMAT', help: 'json: one object a line', complete: ['json'] },
    NAMESPACE_FLAG,
  ],
  examples: [
    'clrk agents logs summarizer',
    'clrk agents logs -f summarizer/5f0c2b1e-8a51-4d0c-9f0e-3b6a7d2c4e10',
    "clrk agents logs summarizer --since 10m --iostream stderr -o json | jq -r '.body'",
  ],
  run: async (context) => {
    const view = viewOf(context);
    const filter = filterOf(context);
    const target = await targetOf(context.global, context.io);
    const source = { ...filter, namespace: context.flag('namespace') ?? target.namespace };
    try {
      await print(context, target, source, view);
    } catch (error) {
      throw await explainMissing(error, target, source);
    }
  },
};
