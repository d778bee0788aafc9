import { resolve } from 'node:path';
import { homedir } from 'node:os';
import { Command, CommanderError, Option } from 'commander';
import type { CommandContext, CommandSpec, GlobalFlags } from './command.ts';
import { COMMANDS, GROUPS } from './commands/index.ts';
import { printError, processIo, type Io } from './output.ts';

/** Exit codes of api and run outcomes are 0, 1, 77 and 124; a wrong command line is 2. */
const USAGE = 2;
const STOP_SIGNALS = ['SIGINT', 'SIGTERM'] as const;

const globalOptions = (program: Command): Command =>
  program
    .option('--clrk-dir <DIR>', 'state directory (env CLRK_DIR; default ~/.clrk)')
    .option('--kubeconfig <FILE>', 'kubeconfig to use')
    .option('--context <NAME>', 'context in that kubeconfig')
    .option('--local', 'use the stack that `clrk dev` runs in the state directory')
    .addOption(new Option('--log-level <LEVEL>', 'debug, info, warn or error').choices(['debug', 'info', 'warn', 'error']));

const globalsOf = (options: Record<string, unknown>, env: NodeJS.ProcessEnv): GlobalFlags => {
  const chosen = (options['clrkDir'] as string | undefined) ?? (env['CLRK_DIR'] || undefined);
  const home = env['HOME'] || homedir();
  return {
    dir: resolve(chosen ?? (home && home !== '/' ? `${home}/.clrk` : '/var/lib/clrk')),
    dirChosen: chosen !== undefined,
    local: options['local'] === true,
    ...(options['kubeconfig'] ? { kubeconfig: options['kubeconfig'] as string } : {}),
    ...(options['context'] ? { context: options['context'] as string } : {}),
  };
};

const camel = (name: string): string => name.replace(/-(\w)/g, (_, c: string) => c.toUpperCase());

const define = (spec: CommandSpec, io: Io, done: (code: number) => void): Command => {
  const command = new Command(spec.path.at(-1)!).summary(spec.summary).description([spec.summary, spec.details].filter(Boolean).join('\n\n'));
  command.aliases([...(spec.aliases ?? [])]);
  for (const arg of spec.args ?? []) {
    const name = arg.variadic ? `${arg.name}...` : arg.name;
    command.argument(arg.optional ? `[${name}]` : `<${name}>`, arg.help);
  }
  for (const flag of spec.flags ?? []) {
    const option = new Option(`${flag.short ? `-${flag.short}, ` : ''}--${flag.name}${flag.value ? ` <${flag.value}>` : ''}`, flag.help);
    if (flag.repeatable) option.argParser((value: string, before: string[] | undefined) => [...(before ?? []), value]);
    if (flag.default !== undefined) option.default(flag.default);
    command.addOption(option);
  }
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
      global: globalsOf(options, io.env),
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
  const program = globalOptions(new Command('clrk'))
    .description('Runs LLM agents in gVisor sandboxes whose only way out is a policy-enforcing gateway.')
    .configureOutput({ writeOut: io.out, writeErr: io.err })
    .showHelpAfterError('(add --help for usage)')
    .exitOverride();
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

/** Runs a command line and resolves with its exit code. */
export const runCli = async (argv: readonly string[], io: Io = processIo): Promise<number> => {
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
