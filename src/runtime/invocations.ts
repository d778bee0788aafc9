import {
  invocations,
  LABELS,
  RUNTIME_GROUP,
  VERSION,
  type Condition,
  type ExtraResource,
  type ExtraWatchEvent,
  type Invocation as InvocationObject,
} from '#api';
import { kubeTime } from '#lib';
import { isTerminal, PHASES, QUEUED, type Invocation, type InvocationFilter, type Runs } from '#model';
import { answering, failure } from './failure.ts';

/** The journal keeps at most this many; all of them fit in a list. */
const MAX_LISTED = 10_000;

/** Changes an invocation can have within one millisecond. */
const STEPS = 16;

/**
 * A version that grows with every change of an invocation: when it changed last (ms), then how far it is. Two invocations can
 * have the same one.
 */
const versionOf = ({ createdAt, dispatchedAt, startedAt, finishedAt, phase, reason }: Invocation): number =>
  Math.floor(Math.max(createdAt, dispatchedAt ?? 0, startedAt ?? 0, finishedAt ?? 0)) * STEPS + PHASES.indexOf(phase) * 2 + Number(reason === QUEUED);

/** The version of a list: below everything of its last millisecond, so that a watch from it may repeat, but never misses. */
const listVersion = (items: readonly Invocation[]): string => {
  const newest = items.reduce((highest, item) => Math.max(highest, versionOf(item)), 0);
  return String(Math.max(0, Math.floor(newest / STEPS) * STEPS - 1));
};

const conditionsOf = (invocation: Invocation): Condition[] => {
  const { phase, worker, dispatchedAt, startedAt, finishedAt, exitCode, outputBytes, queuedMs, conditions = {} } = invocation;
  const waited = queuedMs === undefined ? '' : `, after ${Math.round(queuedMs)} ms in the queue`;
  const at = (type: string, time: number | undefined, reason: string, message: string): Condition[] =>
    time === undefined ? [] : [{ type, status: 'True', lastTransitionTime: kubeTime(time), reason, message }];
  const facts = [
    invocation.message,
    ...(exitCode === undefined ? [] : [`Exit code ${exitCode}.`]),
    ...(outputBytes === undefined ? [] : [`${outputBytes} bytes of output.`]),
  ].filter(Boolean);
  return [
    ...at('Dispatched', dispatchedAt, 'Dispatched', worker ? `Given to worker ${worker}${waited}.` : ''),
    ...at('Started', startedAt, 'Started', 'The process of the agent runs.'),
    ...at('Finished', finishedAt, invocation.reason || phase, facts.join(' ')),
    ...Object.entries(conditions).flatMap(([type, message]) => at(type, finishedAt, 'LimitReached', message)),
  ];
};

/** The record of the journal as an object of the API. */
export const toObject = (invocation: Invocation): InvocationObject => {
  const { id, namespace, agent, trigger, source, phase, reason, message, revision, worker, traceId, exitCode, firstByteMs, outputBytes, queuedMs } = invocation;
  const times = { dispatchedAt: invocation.dispatchedAt, startedAt: invocation.startedAt, finishedAt: invocation.finishedAt };
  const present = Object.entries(times).flatMap(([name, ms]) => (ms === undefined ? [] : [[name, kubeTime(ms)]]));
  return {
    apiVersion: `${RUNTIME_GROUP}/${VERSION}`,
    kind: invocations.kind,
    metadata: {
      name: id,
      namespace,
      uid: id,
      resourceVersion: String(versionOf(invocation)),
      creationTimestamp: kubeTime(invocation.createdAt),
      labels: { [LABELS.agent]: agent, [LABELS.agentKind]: 'TaskAgent' },
    },
    spec: { parentRef: { kind: 'TaskAgent', name: agent }, trigger: { type: trigger, ...(source && { source }) } },
    status: {
      phase,
      ...(reason && { reason }),
      ...(message && { message }),
      ...(revision && { revision }),
      ...(worker && { worker }),
      ...(traceId && { traceId }),
      ...(exitCode !== undefined && { exitCode }),
      ...(firstByteMs !== undefined && { firstByteMs: Math.round(firstByteMs) }),
      ...(outputBytes !== undefined && { outputBytes }),
      ...(queuedMs !== undefined && { queuedMs: Math.round(queuedMs) }),
      ...(Object.fromEntries(present) as Partial<Record<keyof typeof times, string>>),
      conditions: conditionsOf(invocation),
    },
  };
};

async function* events(source: AsyncIterable<Invocation>): AsyncGenerator<ExtraWatchEvent, void> {
  const known = new Set<string>();
  for await (const invocation of source) {
    yield { type: known.has(invocation.id) ? 'MODIFIED' : 'ADDED', object: toObject(invocation) };
    // One that has ended does not change any more.
    if (isTerminal(invocation.phase)) known.delete(invocation.id);
    else known.add(invocation.id);
  }
}

/** Invocations, read-only: the journal of the dispatcher. `?agent=NAME` narrows a list or watch to one agent. */
export const invocationsResource = (runs: Runs): ExtraResource => ({
  name: invocations.plural,
  singular: invocations.singular,
  kind: invocations.kind,
  namespaced: true,
  shortNames: invocations.shortNames,
  verbs: ['get', 'list', 'watch'],
  columns: invocations.columns,
  schema: invocations.schema,
  handle: answering('dispatcher', async ({ verb, namespace, name, query, signal }) => {
    if (verb === 'get') {
      const invocation = await runs.get(namespace, name);
      return invocation ? { object: toObject(invocation) } : failure(404, 'NotFound', `${invocations.plural}.${RUNTIME_GROUP} "${name}" not found`);
    }
    const agent = query.get('agent');
    const filter: InvocationFilter = { ...(namespace && { namespace }), ...(name && { id: name }), ...(agent && { agent }), limit: MAX_LISTED };
    if (verb === 'watch') return { watch: events(runs.watch(filter, signal)) };
    const items = await runs.list(filter);
    return { list: items.map(toObject), resourceVersion: listVersion(items) };
  }),
});
