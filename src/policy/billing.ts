import { isJsonObject as isObject, type Json, type JsonObject } from './json.ts';

/** What a request asks for that is not paid by the list. */
export interface Billing {
  /** A longer cache than usual: the highest prices of the model count. */
  readonly dearer: boolean;
  /** The field or header that asks for another price, which nobody knows beforehand. */
  readonly unpriced?: string;
}

/**
 * Fields that choose how a request is served and paid, without case and `_`, and the values that cost no more than the list says. Sources:
 * https://platform.openai.com/docs/guides/priority-processing, https://platform.claude.com/docs/en/about-claude/pricing (fast mode, data
 * residency), https://docs.aws.amazon.com/bedrock/latest/userguide/service-tiers-inference.html, https://ai.google.dev/gemini-api/docs/pricing
 */
const FIELDS: Readonly<Record<string, readonly string[]>> = {
  servicetier: ['auto', 'default', 'standard', 'standard_only', 'flex', 'batch'],
  speed: ['standard', 'normal'],
  inferencegeo: ['global', 'not_available'],
  latency: ['standard'],
};
/** Objects in which they stand. */
const NESTED = new Set(['servicetier', 'performanceconfig', 'generationconfig', 'additionalmodelrequestfields']);

/** The same as headers: Bedrock's `invoke` and Vertex AI have them there. */
const HEADERS: Readonly<Record<string, readonly string[]>> = {
  'x-amzn-bedrock-service-tier': ['default', 'flex'],
  'x-amzn-bedrock-performanceconfig-latency': ['standard'],
  'x-vertex-ai-llm-shared-request-type': ['standard', 'flex'],
};

const bare = (name: string): string => name.replaceAll('_', '').toLowerCase();

const fieldOf = (body: JsonObject, path = '', known = FIELDS): string | undefined => {
  for (const [key, value] of Object.entries(body)) {
    const name = bare(key);
    if (value === undefined || value === null) continue;
    if (isObject(value) && NESTED.has(name)) {
      const inner = fieldOf(value, `${path}${key}.`, name === 'servicetier' ? { type: FIELDS['servicetier']! } : FIELDS);
      if (inner !== undefined) return inner;
    } else if (Object.hasOwn(known, name) && !(typeof value === 'string' && known[name]!.includes(value.toLowerCase()))) return `${path}${key}`;
  }
  return undefined;
};

/** The header of a request that asks for another price, if there is one; names are in lower case. */
export const unpricedHeader = (headers: ReadonlyMap<string, string>): string | undefined =>
  Object.keys(HEADERS).find((name) => headers.has(name) && !HEADERS[name]!.includes(headers.get(name)!.toLowerCase()));

/** Of a JSON body; a form or nothing asks for no such thing. */
export const billingOf = (body: Json | undefined): Billing => {
  if (!isObject(body)) return { dearer: false };
  const unpriced = fieldOf(body);
  // A cache of an hour costs more to write than one of five minutes; it is asked for deep in the messages.
  return { dearer: /"ttl":"(?!5m")/.test(JSON.stringify(body)), ...(unpriced !== undefined && { unpriced }) };
};
