import type { Client } from '#kube';
import type { Clock, Logger } from '#lib';
import type { DesiredPort, Runs } from '#model';
import type { Caches } from './caches.ts';
import type { EgressReports, WorkerReports } from './reports.ts';
import type { Statuses } from './status.ts';

/** What every controller works with. */
export interface Context {
  readonly client: Client;
  readonly caches: Caches;
  readonly desired: DesiredPort;
  readonly workers: WorkerReports;
  readonly egresses: EgressReports;
  readonly runs: Runs;
  readonly clock: Clock;
  readonly statuses: Statuses;
  readonly log: Logger;
}
