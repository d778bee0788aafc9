// runtime: consumes the ports Runs and CountersPort (dispatcher), StorePort (store), ExplainPort and CapsPort (controllers); produces the handlers of the
// runtime API: invocations, taskagents/NAME/{invoke,logs}, exchanges, budgets, explain. Read models, nothing stored.
// Owns: what an Invocation, an exchange, a Budget and an Explanation look like to Kubernetes clients. Heavy dependencies: none.
import { GROUP, RUNTIME_GROUP, VERSION, type ExtraGroup, type ExtraResource } from '#api';
import type { CapsPort, CountersPort, ExplainPort } from '#model';
import { budgetsResource } from './budgets.ts';
import { exchangesResource } from './exchanges.ts';
import { explainResource } from './explain.ts';
import { invocationsResource } from './invocations.ts';
import { invokeHandler, MAX_BODY_BYTES } from './invoke.ts';
import { logsHandler, type LogPorts } from './logs.ts';

export interface RuntimePorts extends LogPorts {
  readonly explain: ExplainPort;
  readonly caps: CapsPort;
  readonly counters: CountersPort;
  /** Ms since the epoch. */
  readonly now: () => number;
}

/** What can be asked of a TaskAgent besides its object. */
const agentsResource = (ports: RuntimePorts): ExtraResource => {
  const invoke = invokeHandler(ports.runs);
  const logs = logsHandler(ports);
  return {
    name: 'taskagents',
    singular: 'taskagent',
    kind: 'TaskAgent',
    namespaced: true,
    shortNames: [],
    verbs: [],
    subresources: [
      { name: 'invoke', kind: 'Invocation', verbs: ['create'], maxBodyBytes: MAX_BODY_BYTES },
      { name: 'logs', kind: 'LogsData', verbs: ['get'] },
    ],
    handle: (request) => (request.subresource === 'logs' ? logs(request) : invoke(request)),
  };
};

/** The runtime API as groups for the API server: `runtime.clrk.apoxy.dev`, and its read-only invocations under `clrk.apoxy.dev` too. */
export const runtimeGroups = (ports: RuntimePorts): readonly ExtraGroup[] => {
  const invocations = invocationsResource(ports.runs);
  return [
    {
      group: RUNTIME_GROUP,
      version: VERSION,
      resources: [invocations, agentsResource(ports), exchangesResource(ports.store), budgetsResource(ports), explainResource(ports.explain)],
    },
    // Without the short name, which would be ambiguous.
    { group: GROUP, version: VERSION, resources: [{ ...invocations, shortNames: [] }] },
  ];
};
