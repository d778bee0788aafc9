import { messageOf, newSpanId, type Clock, type Logger } from '#lib';
import type { Binding, Decision, EgressLine, EngineMetadata, LedgerPort, PolicySet, RequestFacts } from '#model';
import { ANY_FETCH, mcpAt, providerAt, refusedFetch, ruleOf, servedBy, targetOf, type RefusalBody } from '#policy';
import { checkBodyHeaders, readBody } from './body.ts';
import { Holds } from './holds.ts';
import { judgeMessages } from './judge-messages.ts';
import { decided, lineOf, maxTokensOf, metadataOf, type Known, type Recognised, type Verdict } from './known.ts';
import { checkMcpHead } from './mcp.ts';
import { mcpAnswer } from './mcp-answer.ts';
import { checkSize, hostOf, Refusal, type RequestHead } from './request.ts';
import { boundsOf } from './bounds.ts';
import { pricing } from './pricing.ts';
import { BudgetExhausted } from './exhausted.ts';
import { giveBack, reserve } from './reserve.ts';

export interface EngineOptions {
  /** The set to judge by; undefined while the gateway has none. */
  readonly policy: (gateway: string) => PolicySet | undefined;
  /** The run that has this address now; undefined when none has. */
  readonly binding: (address: string) => Binding | undefined;
  /** The name that an address stands for at a gateway. */
  readonly nameOf: (gateway: string, address: string) => string | undefined;
  /** A request was let through. */
  readonly admitted: (gateway: string, source: string, facts: RequestFacts) => void;
  readonly ledger: LedgerPort;
  /** Makes a line durable; a request leaves only after its line is. */
  readonly record: (line: EgressLine) => Promise<void>;
  readonly clock: Clock;
  readonly log: Logger;
  /** See ReserveOptions; 1,500 ms by default. */
  readonly holdMs?: number;
  /** Most that an answer to Envoy takes; 2,000 ms by default. */
  readonly answerMs?: number;
}

export interface Denied {
  readonly verdict: 'Denied';
  readonly status: number;
  readonly reason: string;
  readonly headers: Readonly<Record<string, string>>;
  /** The JSON the agent reads. */
  readonly body: string;
  readonly metadata: EngineMetadata;
}

export interface Admitted {
  readonly verdict: 'Allowed';
  /** What is forwarded: what was judged, written anew. Absent when the request has no body. */
  readonly body?: Uint8Array;
  readonly setHeaders: Readonly<Record<string, string>>;
  readonly removeHeaders: readonly string[];
  readonly metadata: EngineMetadata;
}

/** A reservation that is not settled this long after the request must be over counts as spent. */
const SETTLE_GRACE_MS = 30_000;
/**
 * What Envoy told the engine by header, what would make the answer unreadable to its usage filters, and what belongs to the trace
 * the agent named (W3C Trace Context 3.3: without its `traceparent` it means nothing).
 */
const REMOVED_HEADERS = ['x-clrk-id', 'x-clrk-source', 'x-clrk-destination', 'x-clrk-verdict', 'accept-encoding', 'tracestate'];
/** Tells Envoy which route serves the request where several claim its host; route tables drop it before the upstream. */
const ROUTE_HEADER = 'x-clrk-route';
/** Bodies of one gateway being judged at the same time, in bytes. */
const MAX_GATEWAY_BYTES = 256 * 1024 * 1024;

/** Judges requests one by one: `head` may refuse at once, `whole` decides. Neither throws for a request's own faults. */
export interface Judge {
  /** A refusal that needs no body; else what counts as under way until it is disposed of. */
  head(head: RequestHead, bodiless: boolean): Promise<Denied | Disposable>;
  whole(head: RequestHead, body: Uint8Array, signal: AbortSignal): Promise<Denied | Admitted>;
  /** What the body is refused for before it is whole. */
  refuse(head: RequestHead, refusal: Refusal): Promise<Denied>;
}

export const createJudge = (options: EngineOptions): Judge => {
  const { clock, log, ledger } = options;
  const inFlight = new Map<string, number>();
  const holds = new Holds();

  /** The first half: who asks, by which rules, for which provider. Throws what refuses it. */
  const recognise = (head: RequestHead, known: Known): Recognised => {
    const binding = options.binding(head.source);
    if (!binding?.gateways.includes(head.gateway)) throw new Refusal(403, 'NotClaimed', `No run has the address ${head.source} at this gateway.`);
    const set = options.policy(head.gateway);
    if (!set) throw new Refusal(503, 'GatewayNotReady', `Gateway ${head.gateway} has no rules yet.`);
    known.set = set;
    const host = hostOf(head);
    const colon = head.destination.lastIndexOf(':');
    const dialled = options.nameOf(head.gateway, head.destination.slice(0, colon));
    if (dialled !== host)
      throw new Refusal(421, 'AddressMismatch', `The request is for ${host}, and the address that was dialled stands for ${dialled ?? 'no name'}.`);
    const { method, path, query } = head;
    const target = { host, port: Number(head.destination.slice(colon + 1)), method, path, query };
    const at = mcpAt(set, target);
    if (at !== undefined) known.mcpHead = head.mcp;
    if (at === 'elsewhere') throw impossible(decided(set, target, known));
    if (at === 'server') return { set, binding, facts: target };
    const provider = providerAt(set, host);
    const facts = { ...target, ...(provider && { provider: provider.name }) };
    const operation = provider?.operation(targetOf(facts));
    if (provider) known.provider = provider;
    if (operation) known.operation = operation;
    return { set, binding, facts };
  };

  /** A call of a provider: the body, the decision, the budget. Throws what refuses it. */
  const judgeCall = async (head: RequestHead, body: Uint8Array, signal: AbortSignal, { set, binding, facts }: Recognised, known: Known): Promise<Verdict> => {
    const { provider, operation } = known;
    // Nobody understands such a request: the decision can only refuse it, and says why.
    if (!provider || operation === undefined) throw impossible(decided(set, facts, known));
    checkBodyHeaders(head, operation);
    const content = readBody(operation, { head, target: targetOf(facts), bytes: body });
    const read = content.facts;
    if ('reason' in read) throw new Refusal(400, read.reason, read.message);
    known.facts = read;
    const served = { ...facts, ...(read.model !== undefined && { model: read.model }) };
    const decision = decided(set, served, known);
    const { route, rule } = ruleOf(set, decision)!;
    const fetched = refusedFetch(set, rule, `${binding.namespace}/${binding.agent}`, read.fetches);
    if (fetched !== undefined) throw new Refusal(403, 'ProviderFetchNotAllowed', fetchRefused(decision, fetched));

    const now = clock.now();
    const { budgets, maxOutputTokens } = operation.free ? { budgets: [] } : rule;
    const metered = budgets.length > 0;
    if (read.unbounded && (metered || maxOutputTokens !== undefined)) throw new Refusal(403, 'UnknownBound', unknownBound(decision, head));
    const { namespace } = route.route;
    const list = set.prices?.[namespace];
    const { billing } = content;
    const priced = { provider: provider.name, facts: read, billing, header: head.unpriced, rule, namespace, list, now };
    const price = operation.free ? undefined : pricing(priced);
    const bounds = boundsOf({ facts: read, limits: provider.limits(read.model ?? ''), bodyBytes: content.bytes, maxOutputTokens, price });
    const deadline = now + set.requestTimeoutMs + SETTLE_GRACE_MS;
    const asked = { id: head.id, execution: binding.invocation, route: decision.route, budgets, bounds, now, deadline };
    const granted = metered ? await reserve(asked, { ledger, log, holdMs: options.holdMs ?? 1_500, signal }) : bounds.output;
    const capped = metered || maxOutputTokens !== undefined ? granted : undefined;
    const forwarded = content.forwarded(capped);
    return {
      decision,
      served: [served],
      reserved: metered,
      ...(forwarded && { body: forwarded }),
      metadata: {
        ...metadataOf('Allowed', 'Allowed', known),
        ...maxTokensOf(read, capped),
        ...(metered && { reservedInput: bounds.input, reservedOutput: granted * bounds.n }),
        ...(read.hiddenReasoning && { hiddenReasoning: read.hiddenReasoning }),
        ...(price && { price }),
      },
    };
  };

  /** The second half: the body, the decision, the budget, the record. Throws what refuses it. */
  const admit = async (head: RequestHead, bytes: Uint8Array, signal: AbortSignal, known: Known): Promise<Admitted> => {
    const recognised = recognise(head, known);
    checkSize(bytes);
    const {
      decision,
      served,
      metadata: judged,
      body,
      reserved,
    } = known.mcpHead ? judgeMessages(head, bytes, recognised, known) : await judgeCall(head, bytes, signal, recognised, known);
    const spanId = newSpanId();
    const metadata = { ...judged, spanId };
    if (signal.aborted) {
      if (reserved) giveBack(head.id, ledger);
      throw new Error('the request was cancelled');
    }
    try {
      await options.record(lineOf('admit', head, metadata, clock.now()));
    } catch (error) {
      if (reserved) giveBack(head.id, ledger);
      log.error('cannot record a request, refusing it', { err: error, decision: head.id });
      throw new Refusal(503, 'RecordUnavailable', 'The request cannot be recorded right now.');
    }
    for (const facts of served) options.admitted(head.gateway, head.source, facts);
    return {
      verdict: 'Allowed',
      ...(body && { body: body.bytes }),
      setHeaders: {
        ...(body && { 'content-length': String(body.bytes.byteLength) }),
        ...(body?.contentType !== undefined && { 'content-type': body.contentType }),
        traceparent: `00-${recognised.binding.traceId}-${spanId}-01`,
        [ROUTE_HEADER]: servedBy(decision.route, recognised.facts.port),
      },
      removeHeaders: REMOVED_HEADERS,
      metadata,
    };
  };

  const refuse = async (head: RequestHead, refusal: Refusal, known: Known): Promise<Denied> => {
    const metadata = metadataOf('Denied', refusal.reason, known);
    try {
      await options.record(lineOf('refused', head, metadata, clock.now()));
    } catch (error) {
      log.error('cannot record a refusal', { decision: head.id, reason: refusal.reason, err: messageOf(error) });
    }
    const error: RefusalBody = {
      code: refusal.reason,
      message: refusal.message,
      decision: head.id,
      policy: known.decision?.policies[0] ?? '',
      route: known.decision?.route ?? '',
      gateway: head.gateway,
      revision: known.set?.revision ?? '',
      ...(refusal instanceof BudgetExhausted && { budget: refusal.account }),
    };
    const answer = known.mcp && mcpAnswer(known.mcp, error);
    return {
      verdict: 'Denied',
      status: answer === undefined ? refusal.status : 200,
      reason: refusal.reason,
      headers: { 'content-type': 'application/json', ...(refusal instanceof BudgetExhausted && refusal.headers) },
      body: answer ?? JSON.stringify(known.provider?.errorBody(error, refusal.status) ?? { error }),
      metadata,
    };
  };

  const guarded = async <T>(head: RequestHead, work: (known: Known) => Promise<T>): Promise<T | Denied> => {
    const known: Known = {};
    try {
      return await work(known);
    } catch (error) {
      if (error instanceof Refusal) return refuse(head, error, known);
      throw error;
    }
  };

  return {
    head: (head, bodiless) =>
      guarded(head, async (known) => {
        const { set, facts } = recognise(head, known);
        if (known.mcpHead) {
          checkMcpHead(head);
          return holds.take(head, bodiless);
        }
        if (known.operation === undefined) throw impossible(decided(set, facts, known));
        checkBodyHeaders(head, known.operation);
        return holds.take(head, bodiless);
      }),
    whole: (head, body, signal) =>
      guarded(head, async (known) => {
        const bytes = (inFlight.get(head.gateway) ?? 0) + body.byteLength;
        if (bytes > MAX_GATEWAY_BYTES) throw new Refusal(503, 'GatewayBusy', 'Too many large requests are being judged at this gateway.');
        inFlight.set(head.gateway, bytes);
        try {
          return await admit(head, body, signal, known);
        } finally {
          inFlight.set(head.gateway, inFlight.get(head.gateway)! - body.byteLength);
        }
      }),
    refuse: (head, refusal) =>
      guarded(head, async (known) => {
        recognise(head, known);
        throw refusal;
      }),
  };
};

const fetchRefused = ({ route, rule }: Decision, host: string): string =>
  host === ANY_FETCH
    ? `The provider would reach any host for the agent; only "*" in spec.rules[${rule}].providerFetches of ${route} lets it.`
    : `The provider would fetch from ${JSON.stringify(host.slice(0, 253))} for the agent, which no route admits; name it in spec.rules[${rule}].providerFetches of ${route}.`;

const unknownBound = ({ route, rule }: Decision, { method, path }: RequestHead): string =>
  `Rule ${rule} of ${route} limits tokens, and nobody can say what ${method} ${path.slice(0, 200)} uses: let it through by a rule without limits.`;

/** `decide` allows only operations a provider file knows; should it ever not, the stream fails closed. */
const impossible = (decision: Decision): Error => new Error(`allowed without an operation: ${decision.message}`);
