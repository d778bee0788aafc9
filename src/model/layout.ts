import { basename, join } from 'node:path';

/**
 * Where everything of a stack lives. `state` survives the stack, `run` (short: Unix socket paths end at 108 bytes) ends
 * with it. One service = one socket for one kind of client.
 */
export const layout = (state: string, run: string) => ({
  state,
  run,
  lock: join(state, 'dev.lock'),
  devJson: join(state, 'dev.json'),
  kubeconfig: join(state, 'kubeconfig.host'),
  tools: join(state, 'tools'),
  apiDb: join(state, 'api.db'),
  dispatchDb: join(state, 'dispatch.db'),
  images: join(state, 'images'),
  clickhouse: join(state, 'clickhouse'),
  logs: join(state, 'logs'),
  pki: join(state, 'pki'),
  /** Sockets served by controller-manager, dispatcher and store. */
  desiredSocket: join(run, 'desired.sock'),
  workSocket: join(run, 'work.sock'),
  ledgerSocket: join(run, 'ledger.sock'),
  runsSocket: join(run, 'runs.sock'),
  storeSocket: join(run, 'store.sock'),
  worker: (name: string) => workerLayout(state, run, name),
});

/** Where worker `name` (`0`, `1`, …) and its children keep things. */
export const workerLayout = (state: string, run: string, name: string) => {
  const dir = join(run, `w${name}`);
  const kept = join(state, 'workers', name);
  return {
    dir,
    kept,
    /** Sockets served by the worker (host) and by its egress (the others). */
    hostSocket: join(dir, 'host.sock'),
    claimsSocket: join(dir, 'claims.sock'),
    namesSocket: join(dir, 'names.sock'),
    xdsSocket: join(dir, 'xds.sock'),
    engineSocket: join(dir, 'engine.sock'),
    /** File of the gateway namespace. */
    gatewayNetns: join(dir, 'gw.netns'),
    /** runsc's --root; it wants fewer than 80 bytes. */
    runsc: join(dir, 'runsc'),
    sandboxes: join(dir, 'sandboxes'),
    envoyAdmin: (gatewayIndex: number) => join(dir, `envoy-${gatewayIndex}.admin`),
    /** Parent of the control groups of its sandboxes, below the root of each hierarchy. */
    cgroup: `clrk-${basename(run)}-${name}`,
    /** Record files: Envoy's access logs, bindings.jsonl, egress.jsonl, stdio.jsonl. */
    records: join(kept, 'records'),
    accessLog: (gatewayIndex: number) => join(kept, 'records', `access-${gatewayIndex}.jsonl`),
    bindings: join(kept, 'records', 'bindings.jsonl'),
    egressLog: join(kept, 'records', 'egress.jsonl'),
    stdioLog: join(kept, 'records', 'stdio.jsonl'),
    spool: join(kept, 'spool'),
    logSpool: join(kept, 'spool', 'logs'),
    names: join(kept, 'names'),
    offsets: join(kept, 'offsets'),
  };
};

export type WorkerLayout = ReturnType<typeof workerLayout>;
