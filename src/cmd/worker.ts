import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ClrkError, Commands, DRAIN_SIGNAL, runProgram, sweepTemporaries, systemClock, type Program } from '#lib';
import { sweepStore } from '#image';
import { identities, layout, type Assignment, type RunUpdate } from '#model';
import { Addresses, Cgroups, GatewayNamespace, Images, Runsc, Sandboxes, StdioLog, sweep, Trust } from '#sandbox';
import { createRpcServer, Host } from '#wire';
import { Announced } from './worker/announced.ts';
import { keepProgram } from './worker/children.ts';
import { connectClaims } from './worker/claims-port.ts';
import { DesiredLink } from './worker/desired-link.ts';
import { makeDirectories } from './worker/directories.ts';
import { Envoys } from './worker/envoys.ts';
import { hostService } from './worker/host-service.ts';
import { WorkLink } from './worker/work-link.ts';

/** `--tools DIR --name 0 --pool default/default --uids BASE [--upstream-dns ADDRESS,…]`: the sandboxes of one worker, and what they need around them. */
const main = async (program: Program): Promise<void> => {
  const { state, run, args, log, resources } = program;
  const { name: worker, pool, tools, uids, 'upstream-dns': upstreamDns } = args;
  if (!worker || !pool || !tools || !uids)
    throw new ClrkError('BadArgument', { what: 'worker needs --name, --pool, --tools and --uids.', fix: 'clrk dev passes them.' });
  const stack = layout(state, run);
  const at = stack.worker(worker);
  const ids = identities(Number(uids)).worker(worker);
  const { run: command } = resources.use(new Commands());
  const runsc = new Runsc(join(tools, 'bin', 'runsc'), at.runsc, command);

  // Consumes what an earlier life left; produces empty directories. The same again at the end.
  const clean = (): ReturnType<typeof sweep> => sweep(at.dir, at.runsc, runsc, log);
  const left = await clean();
  if (left.sandboxes + left.mounts > 0) log.info('removed what an earlier worker left', left);
  await sweepStore(stack.images);
  await makeDirectories(at, stack.images, ids);
  await sweepTemporaries(at.kept);
  resources.defer(async () => void (await clean()));
  const cgroups = resources.use(await Cgroups.open(at.cgroup));

  // Produces the namespace sandboxes are attached to, with its rules, and the service by which `egress` uses it.
  const gateway = resources.use(await GatewayNamespace.create(at.gatewayNetns, command));
  const earlier = (await readdir(at.records)).flatMap((file) => /^envoy-(\d+)$/.exec(file)?.[1] ?? []).map(Number);
  const envoys = resources.use(new Envoys({ binary: join(tools, 'bin', 'envoy'), at, ids, log, earlier }));
  let front: Promise<AsyncDisposable> | undefined;
  resources.defer(async () => (await front)?.[Symbol.asyncDispose]());
  const startFront = async (): Promise<void> => void (await (front ??= keepProgram(program, 'front', ids.front, { netns: gateway.path })));
  const host = resources.use(createRpcServer().add(Host, hostService(envoys, gateway, startFront)));
  await host.listen(at.hostSocket);

  // Produces policy decisions (egress) and records (recorder) of this worker's sandboxes.
  const children = await Promise.all([
    keepProgram(program, 'egress', ids.egress, { args: upstreamDns === undefined ? [] : ['--upstream-dns', upstreamDns] }),
    keepProgram(program, 'recorder', ids.recorder),
  ]);
  for (const child of children) resources.use(child);

  // Consumes Assignments; produces runs: sandboxes claim their address in egress, stdout and ends go to the dispatcher.
  const images = new Images(stack.images);
  const desired = resources.use(
    new DesiredLink({
      socket: stack.desiredSocket,
      worker,
      pool,
      images,
      store: stack.images,
      tryStart: (template, signal) => sandboxes.tryStart(template, signal),
      active: () => sandboxes.running.length,
      warm: {
        set: (targets) => sandboxes.warm.set(targets),
        get states() {
          return sandboxes.warm.states;
        },
      },
      trust: () => trust.states,
      log,
    }),
  );
  const trust = new Trust({ current: () => desired.roots, changed: () => desired.report() });
  const claims = connectClaims(at.claimsSocket);
  resources.defer(async () => claims.close());
  // Consumes what runs print; produces stdio.jsonl for the recorder.
  const stdio = resources.use(new StdioLog({ path: at.stdioLog, log }));
  const sandboxes = new Sandboxes({
    dir: at.sandboxes,
    runsc,
    images,
    gateway,
    addresses: new Addresses(systemClock),
    claims,
    cgroups,
    stdio,
    trust,
    changed: () => (desired.report(), work.warmChanged()),
    log,
  });
  const work = new WorkLink({
    socket: stack.workSocket,
    worker,
    pool,
    log,
    handler: {
      running: () => sandboxes.running,
      warm: () => sandboxes.warm.counts,
      cancel: (invocation, reason) => sandboxes.cancel(invocation, reason),
      credit: (invocation, bytes) => sandboxes.credit(invocation, bytes),
      drained: () => {
        log.info('drained, ending');
        program.stop();
      },
      assign: (assignment) => start(assignment),
      announce: (assignment) => start(assignment, announced.add(assignment.invocation)),
      begin: (invocation) => announced.begin(invocation),
      forget: () => announced.forget((invocation) => sandboxes.cancel(invocation, 'DispatcherLost')),
    },
  });
  const announced = new Announced();
  const start = (assignment: Assignment, begin?: Promise<void>): void => {
    const { invocation } = assignment;
    const listener = {
      running: () => work.update({ invocation, phase: 'Running', reason: '', message: '' }),
      output: (data: Uint8Array) => work.output(invocation, data),
      ended: (update: RunUpdate) => (announced.end(invocation), work.update(update)),
    };
    sandboxes.start(assignment, listener, begin);
  };
  resources.use(work);
  resources.use(sandboxes); // ends first, while their ends can still be told
  // Its pool needs it no more: it takes no new runs, and ends when those it has have ended.
  process.on(DRAIN_SIGNAL, () => {
    desired.drain();
    work.drain();
  });
  desired.start();
  work.start();
  program.ready({});
};

await runProgram('worker', main);
