// scheduler: consumes slot requests and what workers say; produces Assignments for workers and RunUpdates for the trigger.
// Owns: which worker runs what, the limits of agents and workers, who waits for a slot, and the service `Work`.
export { Scheduler, type SchedulerLimits, type WorkerHello, type WorkerMessage } from './scheduler.ts';
export { workService } from './work-service.ts';
export type { Review } from './waiting-room.ts';
