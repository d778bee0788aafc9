// runtime: consumes the ports Runs (dispatcher) and StorePort (store); produces the handlers of the runtime API:
// invocations, taskagents/NAME/invoke, exchanges. Read models, nothing stored.
// Owns: what an Invocation and an exchange look like to Kubernetes clients. Heavy dependencies: none.
import { GROUP, RUNTIME_GROUP, VERSION, type ExtraGroup } from '#api';
import type { Runs, StorePort } from '#model';
import { exchangesResource } from './exchanges.ts';
import { invocationsResource } from './invocations.ts';
import { invokeResource } from './invoke.ts';

/** The runtime API as groups for the API server: `runtime.clrk.apoxy.dev`, and its read-only invocations under `clrk.apoxy.dev` too. */
export const runtimeGroups = (runs: Runs, store: StorePort): readonly ExtraGroup[] => {
  const invocations = invocationsResource(runs);
  return [
    { group: RUNTIME_GROUP, version: VERSION, resources: [invocations, invokeResource(runs), exchangesResource(store)] },
    // Without the short name, which would be ambiguous.
    { group: GROUP, version: VERSION, resources: [{ ...invocations, shortNames: [] }] },
  ];
};
