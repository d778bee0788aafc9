/** The services between our processes (proto/clrk/control.proto). */
export {
  Claims,
  Desired,
  Host,
  Ledger,
  Names,
  Runs,
  Store,
  Work,
  type Assignment as AssignmentMessage,
  type FromWorker,
  type LedgerCall,
  type LedgerReply,
  type ToWorker,
} from './gen/clrk/control_pb.js';
