// sandbox: consumes Assignments; produces Runs: stdout in pieces, lines of both streams in `stdio.jsonl`, one end each.
// Owns: gVisor sandboxes, their control groups and images, addresses and namespaces; the gateway namespace with its nftables rules.
// Programs used here and nowhere else: runsc, ip, nft, ss, unshare, umount.
export { Addresses, QUARANTINE_MS, type AddressPair } from './addresses.ts';
export { Cgroups, detectDriver, type Driver, type Group, type GroupLimits, type GroupUsage } from './cgroup/index.ts';
export { GatewayNamespace, type RouteElement } from './gateway-namespace.ts';
export { Images, ImageError, type ReadyImage } from './images.ts';
export { type RefusedPacket } from './refusals.ts';
export { FRONT_PORTS, RESERVED } from './ruleset.ts';
export { type RunContext } from './context.ts';
export { SandboxRun, type RunListener } from './run.ts';
export { Runsc } from './runsc.ts';
export { Sandboxes } from './sandboxes.ts';
export { pumpLines } from './stdio.ts';
export { StdioLog } from './stdio-log.ts';
export type { TrialFailure } from './trial.ts';
export { sweep } from './sweep.ts';
export { Trust, type Trusted } from './trust.ts';
