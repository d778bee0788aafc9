import { once } from 'node:events';
import { isIP } from 'node:net';
import { DEFAULT_POOL, workerPools } from '#api';
import { enterPrivateMounts, startStack, toolsDirOf } from '#supervisor';
import { appliedLine, applyFiles } from '../manifests/apply.ts';
import type { CommandSpec } from '../command.ts';
import { ClrkError, poll } from '#lib';
import { localTarget } from '../target.ts';
import { applySecret } from '../secrets.ts';

/** Each worker is a handful of processes; more than this on one machine is a mistake. */
const MAX_WORKERS = 64;

interface SecretFlag {
  readonly name: string;
  readonly key: string;
  readonly value: string;
}

/** `NAME=ENVVAR[:KEY]`; the key defaults to the variable in lower case with `-` for `_`. */
export const parseSecretFlag = (text: string, env: NodeJS.ProcessEnv): SecretFlag => {
  const match = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)=([A-Za-z_][A-Za-z0-9_]*)(?::([-._a-zA-Z0-9]+))?$/.exec(text);
  if (!match)
    throw new ClrkError('BadArgument', { what: `--secret ${text} is not NAME=ENVVAR[:KEY].`, fix: 'For example: --secret openai=OPENAI_AUTH:authorization' });
  const [, name, , variable, key] = match;
  const value = env[variable!];
  if (value === undefined) {
    throw new ClrkError('BadArgument', {
      what: `--secret ${text}: the environment variable ${variable} is not set.`,
      fix: `Export ${variable} before starting clrk dev.`,
    });
  }
  return { name: name!, key: key ?? variable!.toLowerCase().replaceAll('_', '-'), value };
};

/** Replicas of the default pool, or undefined to leave them as they are. */
export const parseWorkers = (text: string | undefined): number | undefined => {
  if (text === undefined) return undefined;
  const workers = /^\d+$/.test(text) ? Number(text) : 0;
  if (workers >= 1 && workers <= MAX_WORKERS) return workers;
  throw new ClrkError('BadArgument', { what: `--workers ${text} is not a number from 1 to ${MAX_WORKERS}.`, fix: 'For example: --workers 2' });
};

/** Name servers as `egress` takes them. */
export const parseUpstreamDns = (text: string | undefined): string | undefined => {
  for (const server of text?.split(',') ?? []) {
    const [, inBrackets, alone, port] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(server) ?? [];
    const valid = isIP(server) !== 0 || (isIP(inBrackets ?? alone ?? '') !== 0 && (port === undefined || (Number(port) > 0 && Number(port) < 65_536)));
    if (valid) continue;
    throw new ClrkError('BadArgument', {
      what: `--upstream-dns ${text}: ${JSON.stringify(server)} is not an address with an optional port.`,
      fix: 'For example: --upstream-dns 10.0.0.2,[2001:db8::53]:5353',
    });
  }
  return text;
};

export const devCommand: CommandSpec = {
  path: ['dev'],
  summary: 'Run a complete stack on this machine, in the foreground',
  details:
    'Starts the API server, dispatcher, a worker and the record store. State stays in the state directory; everything else ends with Ctrl-C.\n' +
    'DIR/dev.json has the process id and the URLs of API and ingress, DIR/kubeconfig.host works with kubectl.',
  flags: [
    { name: 'apply', short: 'f', value: 'PATH', repeatable: true, help: 'file or directory to apply once the API is up', complete: 'file' },
    { name: 'recursive', short: 'R', help: 'look for manifests below directories too' },
    { name: 'workers', value: 'N', help: 'replicas of WorkerPool default/default (kept in the state directory; 1 at first)' },
    { name: 'upstream-dns', value: 'ADDRESS[,ADDRESS]', help: 'name servers to ask for names of upstreams, instead of those of /etc/resolv.conf' },
    { name: 'secret', value: 'NAME=ENVVAR[:KEY]', repeatable: true, help: 'make a Secret from an environment variable before --apply' },
  ],
  examples: ['clrk dev', 'clrk dev --workers 2', 'clrk dev -f examples/quickstart/manifests --secret openai=OPENAI_AUTH:authorization'],
  run: async ({ io, global, flag, flags, has, signal }) => {
    await enterPrivateMounts('clrk dev');
    const workers = parseWorkers(flag('workers'));
    const upstreamDns = parseUpstreamDns(flag('upstream-dns'));
    const secrets = flags('secret').map((text) => parseSecretFlag(text, io.env));
    const write = (line: string): void => io.err(`${line}\n`);
    await using stack = await startStack({ dir: global.dir, tools: toolsDirOf(global.dir), write, upstreamDns });
    const target = await localTarget(global.dir);
    const byName = Map.groupBy(secrets, ({ name }) => name);
    for (const [name, entries] of byName) {
      await applySecret(target, 'default', name, Object.fromEntries(entries.map(({ key, value }) => [key, value])));
      io.err(`secret/${name} applied\n`);
    }
    if (flags('apply').length > 0) {
      const options = { recursive: has('recursive'), namespace: 'default', force: true };
      await applyFiles(target, flags('apply'), options, (item, applied) => io.err(appliedLine(io, item, applied)));
    }
    // After the manifests: what the command line says wins.
    if (workers !== undefined) {
      await poll(() => target.client.get(workerPools, DEFAULT_POOL, DEFAULT_POOL), 50, signal); // made at the first start
      await target.client.patch(workerPools, DEFAULT_POOL, DEFAULT_POOL, { spec: { replicas: workers } });
    }
    io.err(`clrk is ready. API ${stack.api}  ingress ${stack.ingress}  state ${global.dir}\n`);
    if (!signal.aborted) await once(signal, 'abort');
    io.err('stopping ...\n');
  },
};
