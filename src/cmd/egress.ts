import { ClrkError, messageOf, retry, runProgram, systemClock, type Program } from '#lib';
import { layout } from '#model';
import { createLedgerClient, Egress, UpstreamResolver, type HostPort } from '#egress';
import { connect, Desired, Host, Ledger } from '#wire';

const LEDGER_TIMEOUT_MS = 1_000;

/** `--name 0 [--upstream-dns ADDRESS,…]`: policy of one worker's sandboxes. Consumes desired gateways; produces what their Envoys do, and says what is in force. */
const main = async (program: Program): Promise<void> => {
  const { state, run, args, log, signal, resources } = program;
  const { name: worker } = args;
  if (!worker) throw new ClrkError('BadArgument', { what: 'egress needs --name.', fix: 'The worker passes it.' });
  const stack = layout(state, run);
  const at = stack.worker(worker);

  // What needs privilege is done by the worker, what must be counted once by the dispatcher.
  const privileged = connect(Host, at.hostSocket);
  const counters = connect(Ledger, stack.ledgerSocket);
  resources.defer(async () => (privileged.close(), counters.close()));
  const host: HostPort = {
    startEnvoy: async (envoy) => void (await privileged.startEnvoy(envoy)),
    stopEnvoy: async (index) => void (await privileged.stopEnvoy({ index })),
    startFront: async () => void (await privileged.startFront({})),
    setRoute: async (element) => void (await privileged.setRoute(element)),
    deleteRoute: async (element) => void (await privileged.deleteRoute(element)),
    setBlock: async (block, elements) => void (await privileged.setBlock({ block, elements: [...elements] })),
    closeConnections: async (address, destinations) => void (await privileged.closeConnections({ address, destinations: [...destinations] })),
  };
  const ledger = createLedgerClient(counters, { timeoutMs: LEDGER_TIMEOUT_MS });

  const servers = args['upstream-dns']?.split(',');
  const upstream = resources.use(new UpstreamResolver(servers ? { servers } : {}));

  const egress = resources.use(await Egress.start({ worker, at, host, ledger, upstream, clock: systemClock, log, signal }));

  // Ends of Envoys; the worker keeps those that nobody listened for.
  follow(program, 'the worker', async () => {
    for await (const end of privileged.envoyEnds({}, { signal })) await egress.envoyEnded(end);
  });

  // Packets that went nowhere; they are written down by the kernel for a minute.
  follow(program, 'the worker', async () => {
    for await (const packet of privileged.refusals({}, { signal })) await egress.refused(packet);
  });

  // Desired state down, what is in force up. Reports begin with who this is, so that the answer can be chosen.
  const desired = connect(Desired, stack.desiredEgressSocket);
  resources.defer(async () => desired.close());
  egress.reports.set({ worker, gateways: [] });
  follow(program, 'controller-manager', async () => {
    const stream = new AbortController();
    const ended = AbortSignal.any([signal, stream.signal]);
    const reports = async function* () {
      for await (const report of egress.reports.subscribe(ended)) {
        const gateways = report.gateways.map(({ unavailable = [], ...gateway }) => ({ ...gateway, unavailable: [...unavailable] }));
        yield { ...report, gateways };
      }
    };
    try {
      for await (const state of desired.egress(reports(), { signal })) await egress.apply(state);
    } finally {
      stream.abort();
    }
  });
  program.ready({});
};

/** Keeps a stream up: a stream that ends or fails is opened again, until the program ends. */
const follow = ({ log, signal }: Program, peer: string, stream: () => Promise<void>): void => {
  const attempt = async (): Promise<void> => {
    await stream();
    throw new Error('the stream ended');
  };
  retry(attempt, { signal, onError: (error, n) => n % 20 === 0 && log.info(`waiting for ${peer}`, { cause: messageOf(error) }) }).catch(() => {});
};

await runProgram('egress', main);
