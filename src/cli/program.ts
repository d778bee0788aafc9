import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError, Option } from 'commander';
import { APP } from '#supervisor';
import type { CommandContext, CommandSpec, FlagSpec } from './command.ts';
import { COMMANDS, GROUPS } from './commands/index.ts';
import { complete } from './completion.ts';
import { GLOBAL_FLAGS, globalsFrom, LOG_LEVELS } from './globals.ts';
import { printError, processIo, type Io } from './output.ts';
import { answerLines } from './shells.ts';

/** Exit codes of api and run outcomes are 0, 1, 77 and 124; a wrong command line is 2. */
const USAGE = 2;
const STOP_SIGNALS = ['SIGINT', 'SIGTERM'] as const;

const versionText = (): string => (JSON.parse(readFileSync(join(APP, 'package.json'), 'utf8')) as { version: string }).version;

const camel = (name: string): string => name.replace(/-(\w)/g, (_, c: string) => c.toUpperCase());

const optionOf = (flag: FlagSpec): Option => {
  const option = new Option(`${flag.short ? `-${flag.short}, ` : ''}--${flag.name}${flag.value ? ` <${flag.value}>` : ''}`, flag.help);
  if (flag.repeatable) option.argParser((value: string, before: string[] | undefined) => [...(before ?? []), value]);
  if (flag.default !== undefined) option.default(flag.default);
  return option;
};

const define = (spec: CommandSpec, io: Io, done: (code: number) => void): Command => {
  const command = new Command(spec.path.at(-1)!).summary(spec.summary).description([spec.summary, spec.details].filter(Boolean).join('\n\n'));
  command.aliases([...(spec.aliases ?? [])]);
  for (const arg of spec.args ?? []) {
    const name = arg.variadic ? `${arg.name}...` : arg.name;
    command.argument(arg.optional ? `[${name}]` : `<${name}>`, arg.help);
  }
  for (const flag of spec.flags ?? []) command.addOption(optionOf(flag));
  command.addHelpText('after', `\nExamples:\n${spec.examples.map((example) => `  ${example}`).join('\n')}`);
  command.action(async () => {
    const options = command.optsWithGlobals<Record<string, unknown>>();
    if (options['logLevel']) process.env['CLRK_LOG_LEVEL'] = options['logLevel'] as string;
    const abort = new AbortController();
    // Once: a second Ctrl-C ends the process at once, whatever it is waiting for.
    const stop = (signal: NodeJS.Signals): void => abort.abort(new Error(`stopped by ${signal}`));
    for (const signal of STOP_SIGNALS) process.once(signal, stop);
    const context: CommandContext = {
      io,
      global: globalsFrom(Object.fromEntries(GLOBAL_FLAGS.map(({ name }) => [name, options[camel(name)]])), io.env),
      args: command.args,
      signal: abort.signal,
      flag: (name) => options[camel(name)] as string | undefined,
      flags: (name) => (options[camel(name)] as string[] | undefined) ?? [],
      has: (name) => options[camel(name)] === true,
    };
    try {
      done((await spec.run(context)) ?? 0);
    } finally {
      for (const signal of STOP_SIGNALS) process.off(signal, stop);
    }
  });
  return command;
};

/** The whole command tree. `done` gets the exit code of the command that ran. */
export const createProgram = (io: Io = processIo, done: (code: number) => void = () => {}): Command => {
  const program = new Command('clrk')
    .description('Runs LLM agents in gVisor sandboxes whose only way out is a policy-enforcing gateway.')
    .configureOutput({ writeOut: io.out, writeErr: io.err })
    .configureHelp({ showGlobalOptions: true })
    .version(versionText(), '-V, --version', 'print the version')
    .showHelpAfterError('(add --help for usage)')
    .exitOverride();
  for (const flag of GLOBAL_FLAGS) program.addOption(flag.name === 'log-level' ? optionOf(flag).choices([...LOG_LEVELS]) : optionOf(flag));
  const groups = new Map<string, Command>();
  for (const spec of COMMANDS) {
    const [first] = spec.path;
    let parent = program;
    // A word that is a command of its own (`dev`) can hold subcommands too (`dev wait-ready`).
    if (spec.path.length > 1) {
      parent =
        groups.get(first!) ??
        new Command(first!)
          .description(GROUPS[first!]?.summary ?? '')
          .aliases([...(GROUPS[first!]?.aliases ?? [])])
          .exitOverride();
      if (!groups.has(first!)) program.addCommand(parent);
      groups.set(first!, parent);
    }
    const command = define(spec, io, done).exitOverride().copyInheritedSettings(program);
    parent.addCommand(command, { hidden: spec.hidden === true });
    if (spec.path.length === 1) groups.set(first!, command);
  }
  return program;
};

/** What the scripts of `clrk completion` call, before any parsing: their words are those of a line that is not finished. */
const COMPLETE = '__complete';

const completeLine = async ([, ...words]: readonly string[], io: Io): Promise<number> => {
  const tree = { commands: COMMANDS, groups: GROUPS, globals: GLOBAL_FLAGS };
  io.out(answerLines(await complete(tree, words, io, (flags) => globalsFrom(Object.fromEntries(flags), io.env))));
  return 0;
};

/** Runs a command line and resolves with its exit code. */
export const runCli = async (argv: readonly string[], io: Io = processIo): Promise<number> => {
  if (argv[0] === COMPLETE) return completeLine(argv.slice(1), io);
  let code = 0;
  try {
    await createProgram(io, (value) => (code = value)).parseAsync(argv, { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE;
    printError(io, error);
    return 1;
  }
};
