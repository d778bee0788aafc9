import { setup, toolsDirOf } from '#supervisor';
import type { CommandSpec } from '../command.ts';
import { progress } from '../output.ts';

export const setupCommand: CommandSpec = {
  path: ['setup'],
  summary: 'Install what clrk needs on this machine',
  details: 'Installs nftables, iproute2 and umoci with apt-get, Envoy (pinned by checksum) and gVisor into the state directory. Does nothing twice.',
  examples: ['clrk setup', 'clrk setup --clrk-dir /srv/clrk'],
  run: async ({ io, global }) => {
    await setup(toolsDirOf(global.dir), progress(io));
    io.err('This machine is ready. Next: clrk demo, or clrk dev.\n');
  },
};
