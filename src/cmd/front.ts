import { layout } from '#model';
import { ClrkError, runProgram } from '#lib';
import { serveDns } from '#egress/front';
import { connect, Names } from '#wire';

/** Where the gateway namespace redirects DNS to. */
const DNS_PORT = 5353;
/** A question must not wait for an `egress` that is away: the sandbox's resolver asks again. */
const RESOLVE_TIMEOUT_MS = 2_000;

/** `--name 0`, inside the gateway namespace: consumes DNS packets of sandboxes, asks `egress`, answers. Nothing else. */
await runProgram('front', async ({ state, run, args, log, resources, ready }) => {
  if (!args['name']) throw new ClrkError('BadArgument', { what: 'front needs --name.', fix: 'The worker passes it.' });
  const names = connect(Names, layout(state, run).worker(args['name']).namesSocket);
  resources.defer(async () => names.close());
  resources.use(await serveDns({ address: '0.0.0.0', port: DNS_PORT, resolve: (question) => names.resolve(question, { timeoutMs: RESOLVE_TIMEOUT_MS }), log }));
  ready({});
});
