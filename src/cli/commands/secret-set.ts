import { readFile } from 'node:fs/promises';
import { ClrkError, messageOf } from '#lib';
import { NAMESPACE_FLAG, type CommandSpec } from '../command.ts';
import { applySecret } from '../secrets.ts';
import { targetOf } from '../target.ts';

/** `key=rest` of a flag; the key may hold what a Secret key may. */
const pair = (flag: string, text: string): [string, string] => {
  const match = /^([-._a-zA-Z0-9]+)=([^]*)$/.exec(text);
  if (!match)
    throw new ClrkError('BadArgument', {
      what: `--${flag} ${text.split('=')[0]}: expected KEY=…, with a key of letters, digits, - _ and .`,
      fix: `For example: --${flag} token=...`,
    });
  return [match[1]!, match[2]!];
};

export const secretSetCommand: CommandSpec = {
  path: ['secret', 'set'],
  summary: 'Create or update an Opaque Secret',
  args: [{ name: 'NAME', help: 'name of the Secret' }],
  flags: [
    { name: 'from-literal', value: 'KEY=VALUE', repeatable: true, help: 'a value as it is' },
    { name: 'from-env', value: 'KEY=ENVVAR', repeatable: true, help: 'the value of an environment variable' },
    { name: 'from-file', value: 'KEY=PATH', repeatable: true, help: 'the content of a file' },
    NAMESPACE_FLAG,
  ],
  examples: ['clrk secret set openai --from-env authorization=OPENAI_AUTH', 'clrk secret set ca --from-file ca.crt=./ca.pem -n finance'],
  run: async ({ io, global, args, flag, flags }) => {
    const data: Record<string, string | Buffer> = {};
    for (const text of flags('from-literal')) {
      const [key, value] = pair('from-literal', text);
      data[key] = value;
    }
    for (const text of flags('from-env')) {
      const [key, variable] = pair('from-env', text);
      const value = io.env[variable];
      if (value === undefined) throw new ClrkError('BadArgument', { what: `--from-env ${text}: ${variable} is not set.`, fix: `Export ${variable} first.` });
      data[key] = value;
    }
    for (const text of flags('from-file')) {
      const [key, path] = pair('from-file', text);
      data[key] = await readFile(path).catch((error: unknown) => {
        throw new ClrkError('FileUnreadable', { path, cause: messageOf(error) });
      });
    }
    if (Object.keys(data).length === 0) {
      throw new ClrkError('BadArgument', { what: 'clrk secret set needs at least one value.', fix: 'Use --from-literal, --from-env or --from-file.' });
    }
    const target = await targetOf(global, io);
    await applySecret(target, flag('namespace') ?? target.namespace, args[0]!, data);
    io.err(`secret/${args[0]} applied\n`);
  },
};
