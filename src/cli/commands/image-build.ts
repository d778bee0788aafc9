import { join } from 'node:path';
import { buildImage, isRuntime } from '#image';
import { ClrkError } from '#lib';
import type { CommandSpec } from '../command.ts';
import { progress } from '../output.ts';

export const imageBuildCommand: CommandSpec = {
  path: ['image', 'build'],
  summary: 'Build an agent image from a directory, without Docker',
  details:
    'DIR becomes /app and the working directory; the process runs as uid 65534. Same content, same digest.\n' +
    'Runtime node (package.json, index.js): this Node.js with the libraries it needs, starting the main file of the package.\n' +
    "Runtime python (*.py, requirements.txt): this machine's Python with its standard library, starting main.py, agent.py, app.py or the only *.py.\n" +
    'Packages are found in a virtual environment in DIR, and in any directory of it filled by pip install --target; everything is compiled.\n' +
    'Runtime none: nothing is added; bring a static program and an --entrypoint.',
  args: [{ name: 'DIR', help: 'directory with the program', complete: 'directory' }],
  flags: [
    { name: 'tag', short: 't', value: 'NAME', help: 'name of the image, as TaskAgents refer to it' },
    { name: 'runtime', value: 'RUNTIME', help: 'node, python or none (default: what the files in DIR show)', complete: ['node', 'python', 'none'] },
    { name: 'entrypoint', value: 'ARG', repeatable: true, help: 'a word of the command line (repeat it)' },
  ],
  examples: [
    'clrk image build -t quickstart/summarizer:latest examples/quickstart/agent',
    'python3 -m pip install -r app/requirements.txt --target app/vendor && clrk image build -t me/app:1 app',
    'clrk image build -t tools/hello:1 ./bin --runtime none --entrypoint /app/hello',
  ],
  run: async ({ io, global, args, flag, flags, signal }) => {
    const name = flag('tag');
    if (!name) throw new ClrkError('BadArgument', { what: 'clrk image build needs a name.', fix: 'Give one with -t NAME.' });
    const runtime = flag('runtime');
    if (runtime !== undefined && !isRuntime(runtime))
      throw new ClrkError('BadArgument', { what: `--runtime ${runtime} is not known.`, fix: 'Use node, python or none.' });
    const { digest } = await buildImage({
      store: join(global.dir, 'images'),
      name,
      dir: args[0]!,
      nodeBinary: process.execPath,
      signal,
      progress: progress(io),
      ...(runtime ? { runtime } : {}),
      ...(flags('entrypoint').length > 0 ? { entrypoint: flags('entrypoint') } : {}),
    });
    io.out(`${name}@${digest}\n`);
  },
};
