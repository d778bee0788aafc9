import { basename, join } from 'node:path';

/**
 * Where everything of a stack lives. `state` survives the stack, `run` (short: Unix socket paths end at 108 bytes) ends
 * with it. One service = one socket for one kind of client, in a directory of its own: who may enter the directory may call.
 */
export const layout = (state: string, run: string) => ({
  state,
  run,
  lock: join(state, 'dev.lock'),
  devJson: join(state, 'dev.json'),
  kubeconfig: join(state, 'kubeconfig.host'),
  tools: join(state, 'tools'),
  /** Of controller-manager, and of nobody else. */
  api: join(state, 'api'),
  apiDb: join(state, 'api', 'api.db'),
  apiPort: join(state, 'api', 'api.port'),
  /** Of the dispatcher, and of nobody else. */
  dispatch: join(state, 'dispatch'),
  dispatchDb: join(state, 'dispatch', 'dispatch.db'),
  ingressPort: join(state, 'dispatch', 'ingress.port'),
  images: join(state, 'images'),
  clickhouse: join(state, 'clickhouse'),
  logs: join(state, 'logs'),
  pki: join(state, 'pki'),
  workers: join(state, 'workers'),
  /** Served by controller-manager for `clrk dev` and workers, and for egresses. */
  desiredSocket: socketOf(run, 'desired'),
  desiredEgressSocket: socketOf(run, 'desired-egress'),
  /** Served by the dispatcher for workers, egresses and controller-manager. */
  workSocket: socketOf(run, 'work'),
  ledgerSocket: socketOf(run, 'ledger'),
  runsSocket: socketOf(run, 'runs'),
  /** Served by the store for recorders and for controller-manager. */
  storeSocket: socketOf(run, 'store'),
  storeQuerySocket: socketOf(run, 'store-query'),
  worker: (name: string) => workerLayout(state, run, name),
});

const socketOf = (dir: string, service: string): string => join(dir, service, 'sock');

/** Where worker `name` (`0`, `1`, …) and its children keep things. */
export const workerLayout = (state: string, run: string, name: string) => {
  const dir = join(run, `w${name}`);
  const kept = join(state, 'workers', name);
  const records = join(kept, 'records');
  const egressRecords = join(records, 'egress');
  const envoyRecords = (gatewayIndex: number): string => join(records, `envoy-${gatewayIndex}`);
  return {
    dir,
    kept,
    /** Served by the worker for its egress. */
    hostSocket: socketOf(dir, 'host'),
    /** Served by egress for the worker, the front, and the worker's Envoys. */
    claimsSocket: socketOf(dir, 'claims'),
    namesSocket: socketOf(dir, 'names'),
    xdsSocket: socketOf(dir, 'xds'),
    engineSocket: socketOf(dir, 'engine'),
    /** What `egress` keeps for as long as its worker lives. */
    egressRun: join(dir, 'egress'),
    /** File of the gateway namespace. */
    gatewayNetns: join(dir, 'gw.netns'),
    /** runsc's --root; it wants fewer than 80 bytes. */
    runsc: join(dir, 'runsc'),
    sandboxes: join(dir, 'sandboxes'),
    /** Parent of the control groups of its sandboxes, below the root of each hierarchy. */
    cgroup: `clrk-${basename(run)}-${name}`,
    /** An Envoy's directory, its admin socket and its bootstrap. */
    envoy: (gatewayIndex: number) => join(dir, `envoy-${gatewayIndex}`),
    envoyAdmin: (gatewayIndex: number) => join(dir, `envoy-${gatewayIndex}`, 'admin'),
    envoyBootstrap: (gatewayIndex: number) => join(dir, `envoy-${gatewayIndex}.json`),
    /** Record files, in a directory for each that writes: egress, every Envoy, and the worker. */
    records,
    workerRecords: join(records, 'worker'),
    stdioLog: join(records, 'worker', 'stdio.jsonl'),
    egressRecords,
    envoyRecords,
    accessLog: (gatewayIndex: number) => join(envoyRecords(gatewayIndex), `access-${gatewayIndex}.jsonl`),
    bindings: join(egressRecords, 'bindings.jsonl'),
    egressLog: join(egressRecords, 'egress.jsonl'),
    spool: join(kept, 'spool'),
    logSpool: join(kept, 'spool', 'logs'),
    names: join(kept, 'names'),
    gateways: join(kept, 'names', 'gateways.json'),
    offsets: join(kept, 'offsets'),
    egressOffsets: join(kept, 'offsets', 'egress'),
    recorderOffsets: join(kept, 'offsets', 'recorder'),
  };
};

export type WorkerLayout = ReturnType<typeof workerLayout>;
