import type { AccessLine, EngineMetadata, ModelPrice, Settlement } from '#model';
import { costBound, costOf } from './price.ts';
import { providerNamed, type UsageTotals } from './providers/index.ts';

/**
 * Envoy's response flags of a request that had an upstream of which nothing was sent to it: it could not be connected to, or had
 * too many connections. No other flag proves that; an agent can cause most of them (DPE, a protocol error) after it has read an answer.
 */
const NOTHING_SENT = new Set(['UF', 'UO']);

const flagsOf = ({ flags = '' }: AccessLine): readonly string[] => flags.split(',').filter((flag) => flag !== '' && flag !== '-');

/** No request uses so many tokens; more would be worth more than can be counted. */
const MOST_TOKENS = 1e9;

const tokens = (reported: number | undefined): number | undefined =>
  typeof reported === 'number' && reported >= 0 && reported <= MOST_TOKENS ? Math.ceil(reported) : undefined;

/** What is known of the use of a request: tokens, and whether each number is the provider's own. */
interface Used {
  readonly input: number;
  readonly output: number;
  /** Neither is a bound. */
  readonly known: boolean;
  readonly totals?: UsageTotals;
}

const NOTHING: Used = { input: 0, output: 0, known: true };

/** Tokens of output of an answer that ended early: no more than its bytes, unless some of it is never seen. */
const seenOutput = (line: AccessLine, engine: EngineMetadata, bound: number): number => {
  const { status = 0, responseBytes = bound } = line;
  const hidden = engine.hiddenReasoning ?? providerNamed(engine.provider ?? '')?.limits(engine.model ?? '').hiddenReasoning ?? true;
  return status >= 200 && status < 300 && engine.stream && !hidden ? Math.min(bound, responseBytes) : bound;
};

/**
 * Reported usage is taken as it is; what is reported along the way of a stream that was cut is only the least it can be.
 * Without it: nothing when no upstream got the request or it refused it (4xx); the bound when it failed (5xx, reset) or when output
 * can be spent that the agent never sees; a stream that was cut otherwise costs its input and at most a token a response byte.
 */
const usedBy = (line: AccessLine, engine: EngineMetadata): Used => {
  const { usage, status = 0, upstream } = line;
  const bound = { input: engine.reservedInput ?? 0, output: engine.reservedOutput ?? 0 };
  const flags = flagsOf(line);
  const provider = providerNamed(engine.provider ?? '');
  const totals = usage && (provider?.totals(usage) ?? usage);
  const [input, output] = [tokens(totals?.input), tokens(totals?.output)];
  if (input !== undefined || output !== undefined) {
    const partial = engine.stream === true && provider?.usageAlong === true && usage?.finishReason === undefined && flags.length > 0;
    const least = output ?? 0;
    return {
      input: input ?? bound.input,
      output: output === undefined ? bound.output : partial ? Math.max(least, seenOutput(line, engine, bound.output)) : output,
      known: input !== undefined && output !== undefined,
      ...(totals && { totals }),
    };
  }
  if (!upstream || flags.some((flag) => NOTHING_SENT.has(flag))) return NOTHING;
  if (status >= 400 && status < 500 && flags.length === 0) return NOTHING;
  return { ...bound, output: seenOutput(line, engine, bound.output), known: false };
};

/** What a finished request used and what that cost: what its budgets count. */
export interface Spent {
  readonly input: number;
  readonly output: number;
  /** Millionths of a US dollar, rounded up; absent when nobody knows a price. */
  readonly cost?: number;
  /** By what the provider said; else it is the most it can have been. */
  readonly known: boolean;
}

const costed = (price: ModelPrice, { input, output, known, totals }: Used): number => {
  if (!known) return costBound(price, input, output);
  const { cachedInput, cacheCreation, reasoning } = totals ?? {};
  return costOf(price, { input, output, cachedInput: tokens(cachedInput), cacheCreation: tokens(cacheCreation), reasoning: tokens(reasoning) });
};

/** Undefined of a request that was not let through, and of one that has no bounds (it has no budget) when what it used is not known. */
export const spentOf = (line: AccessLine): Spent | undefined => {
  const { engine } = line;
  if (engine?.verdict !== 'Allowed') return undefined;
  const used = usedBy(line, engine);
  if (engine.reservedInput === undefined && !used.known) return undefined;
  const { input, output, known } = used;
  return { input, output, ...(engine.price && { cost: costed(engine.price, used) }), known };
};

/** What a finished request used, or undefined for a line that cannot have a reservation. */
export const settlementOf = (line: AccessLine): Settlement | undefined => {
  const { id, engine, upstream } = line;
  if (!id) return undefined;
  // The engine went away in the middle of its verdict: it may have reserved, but Envoy let nothing through.
  if (!engine && line.chain === 'http' && line.route?.startsWith('AIProviderRoute/') && !upstream) return { id, tokens: 0, microdollars: 0 };
  const spent = engine?.reservedInput === undefined ? undefined : spentOf(line);
  return spent && { id, tokens: spent.input + spent.output, microdollars: spent.cost ?? 0 };
};
