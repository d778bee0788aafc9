import { ClrkError } from '#lib';
import type { CommandSpec } from '../command.ts';
import { SCRIPTS, SHELLS, type Shell } from '../shells.ts';

const isShell = (word: string): word is Shell => (SHELLS as readonly string[]).includes(word);

export const completionCommand: CommandSpec = {
  path: ['completion'],
  summary: 'Print a script that completes clrk commands in a shell',
  details:
    'Completes commands, flags, kinds, and the names of objects, for which it asks the API for at most a second.\n' +
    'bash: source <(clrk completion bash)   zsh: source <(clrk completion zsh)   fish: clrk completion fish | source',
  args: [{ name: 'SHELL', help: 'bash, zsh or fish', complete: SHELLS }],
  examples: ['source <(clrk completion bash)', 'clrk completion fish > ~/.config/fish/completions/clrk.fish'],
  run: async ({ io, args }) => {
    const [shell = ''] = args;
    if (!isShell(shell)) throw new ClrkError('BadArgument', { what: `There is no completion for ${shell}.`, fix: `Use one of ${SHELLS.join(', ')}.` });
    io.out(SCRIPTS[shell]);
  },
};
