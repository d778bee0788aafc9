import type { AccessLine, CredentialFindings, EngineMetadata, ExchangeRecord } from '#model';
import { providerNamed, spentOf, type Provider } from '#policy';
import { redact } from './redact.ts';

/** What the record of an LLM request says beside what every request's does. All of it is text of others, so it is redacted here. */

/** Entries of a list in a record; the engine, Envoy and providers give fewer. */
const MAX_ENTRIES = 32;

const listOf = (texts: readonly string[]): readonly string[] => [...new Set(texts.slice(0, MAX_ENTRIES).map((text) => redact(text.trim())))].filter(Boolean);
const split = (text: string | undefined): readonly string[] => listOf((text ?? '').split(',', MAX_ENTRIES));

/** The values that are there. */
const known = <Field extends keyof ExchangeRecord>(values: Readonly<Record<Field, number | undefined>>): Partial<Record<Field, number>> =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<Record<Field, number>>;

const providerOf = (engine: EngineMetadata | undefined): Provider | undefined => providerNamed(engine?.provider ?? '');

type Asked = Pick<
  ExchangeRecord,
  'provider' | 'model' | 'operation' | 'stream' | 'routeMatched' | 'maxTokens' | 'reservedTokens' | 'providerFetches' | 'budgetOverrun'
>;

/** What was asked for, as the engine read it, and what was held for it. */
export const askedOf = (engine: EngineMetadata | undefined): Asked => ({
  provider: redact(providerOf(engine)?.genAiName ?? engine?.provider ?? ''),
  model: redact(engine?.model ?? ''),
  operation: redact(engine?.operation ?? ''),
  stream: engine?.stream ?? false,
  routeMatched: engine !== undefined && engine.rule >= 0 && engine.route.startsWith('AIProviderRoute/'),
  ...known({ maxTokens: engine?.maxTokens, reservedTokens: reservedOf(engine) }),
  budgetOverrun: false,
  providerFetches: listOf(engine?.fetches ?? []),
});

const reservedOf = (engine: EngineMetadata | undefined): number | undefined =>
  engine?.reservedInput === undefined ? undefined : engine.reservedInput + (engine.reservedOutput ?? 0);

type Answered = Pick<
  ExchangeRecord,
  | 'responseModel'
  | 'responseId'
  | 'finishReasons'
  | 'inputTokens'
  | 'outputTokens'
  | 'cachedInputTokens'
  | 'cacheCreationTokens'
  | 'reasoningTokens'
  | 'costUsd'
  | 'costEstimated'
  | 'budgetOverrun'
>;

/** Of a request nothing is known to have come back for. */
export const UNANSWERED: Answered = { responseModel: '', responseId: '', finishReasons: [], costEstimated: false, budgetOverrun: false };

/** What its budgets count, also where the provider said nothing. */
const costOf = (line: AccessLine): Pick<ExchangeRecord, 'costUsd' | 'costEstimated'> => {
  const { cost, known: reported = true } = spentOf(line) ?? {};
  return cost === undefined ? { costEstimated: false } : { costUsd: cost / 1e6, costEstimated: !reported };
};

/** What the provider reported, what that cost, and whether it is more than was held for it. */
export const answeredOf = (line: AccessLine): Answered => {
  const { usage, engine } = line;
  if (!usage) return { ...UNANSWERED, ...costOf(line) };
  const { input, output, cachedInput, cacheCreation, reasoning } = providerOf(engine)?.totals(usage) ?? usage;
  return {
    responseModel: redact(usage.responseModel ?? ''),
    responseId: redact(usage.responseId ?? ''),
    finishReasons: split(usage.finishReason),
    ...known({
      inputTokens: input,
      outputTokens: output,
      cachedInputTokens: cachedInput,
      cacheCreationTokens: cacheCreation,
      reasoningTokens: reasoning,
    }),
    ...costOf(line),
    budgetOverrun: (input ?? 0) + (output ?? 0) > (reservedOf(engine) ?? Infinity),
  };
};

/** Names of places, never values. */
export const credentialOf = (found: CredentialFindings | undefined): Pick<ExchangeRecord, 'credentialsReplaced' | 'credentialsEchoed'> => ({
  credentialsReplaced: split(found?.replaced),
  credentialsEchoed: split(found?.echoed),
});
