import type { Logger } from '#lib';
import type { ClaimsPort } from '#model';
import type { Addresses } from './addresses.ts';
import type { Cgroups } from './cgroup/index.ts';
import type { GatewayNamespace } from './gateway-namespace.ts';
import type { Images } from './images.ts';
import type { Runsc } from './runsc.ts';
import type { StdioLog } from './stdio-log.ts';
import type { Trust } from './trust.ts';

/** What a worker has for all its sandboxes. */
export interface RunContext {
  /** Directory that sandboxes get theirs in. */
  readonly dir: string;
  readonly runsc: Runsc;
  readonly images: Images;
  readonly gateway: GatewayNamespace;
  readonly addresses: Addresses;
  readonly claims: ClaimsPort;
  readonly cgroups: Cgroups;
  readonly stdio: StdioLog;
  readonly trust: Trust;
  readonly log: Logger;
}
