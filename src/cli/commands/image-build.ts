import { join } from 'node:path';
import { buildImage } from '#image';
import { ClrkError } from '#lib';
import type { CommandSpec } from '../command.ts';
import { progress } from '../output.ts';

export const imageBuildCommand: CommandSpec = {
  path: ['image', 'build'],
  summary: 'Build an agent image from a directory, without Docker',
  details:
    'DIR becomes /app and the working directory; the process runs as uid 65534. --runtime node adds this Node.js with the libraries it needs; its default\n' +
    "entrypoint is node with the package's main file. --runtime none adds nothing: bring a static program and an --entrypoint. Same content, same digest.",
  args: [{ name: 'DIR', help: 'directory with the program' }],
  flags: [
    { name: 'tag', short: 't', value: 'NAME', help: 'name of the image, as TaskAgents refer to it' },
    { name: 'runtime', value: 'RUNTIME', default: 'node', help: 'node or none' },
    { name: 'entrypoint', value: 'ARG', repeatable: true, help: 'a word of the command line (repeat it)' },
  ],
  examples: [
    'clrk image build -t quickstart/summarizer:latest examples/quickstart/agent',
    'clrk image build -t tools/hello:1 ./bin --runtime none --entrypoint /app/hello',
  ],
  run: async ({ io, global, args, flag, flags, signal }) => {
    const name = flag('tag');
    if (!name) throw new ClrkError('BadArgument', { what: 'clrk image build needs a name.', fix: 'Give one with -t NAME.' });
    const runtime = flag('runtime')!;
    if (runtime !== 'node' && runtime !== 'none') throw new ClrkError('BadArgument', { what: `--runtime ${runtime} is not known.`, fix: 'Use node or none.' });
    const { digest } = await buildImage({
      store: join(global.dir, 'images'),
      name,
      dir: args[0]!,
      runtime,
      nodeBinary: process.execPath,
      signal,
      progress: progress(io),
      ...(flags('entrypoint').length > 0 ? { entrypoint: flags('entrypoint') } : {}),
    });
    io.out(`${name}@${digest}\n`);
  },
};
