import { isJsonObject as isObject, type Json, type JsonObject } from '../../json.ts';
import type { Misread, RequestTarget } from '../provider.ts';

/** Reading fields of requests of OpenAI's API, and of the APIs made like it. */

/** What APIs made like OpenAI's do in their own way. */
export interface Dialect {
  /** The model of a request by its URL; undefined = the field `model` of the body names it. */
  modelInPath?(target: RequestTarget): string | undefined;
  /** Whether a body may leave the model out. */
  readonly modelOptional?: true;
  /** The field a limit on output goes to when a chat names none. */
  chatLimitField(target: RequestTarget): 'max_completion_tokens' | 'max_tokens';
  /** Whether streams can be told to report usage. */
  reportsStreamUsage(target: RequestTarget): boolean;
  /** `max_tokens` of a completion that names none. */
  readonly completionTokens?: number;
}

export const misread = (message: string, reason = 'InvalidRequest'): Misread => ({ reason, message });

export const isMisread = (value: object | undefined): value is Misread => value !== undefined && 'reason' in value && 'message' in value;

/** Null counts as absent, as it does for the provider. */
export const given = (value: Json | undefined): value is Exclude<Json, null> => value !== undefined && value !== null;

/** A field that differs from a known one only in case: some servers would read it as that one. */
export const ambiguous = (keys: readonly string[], known: ReadonlySet<string>): Misread | undefined => {
  const other = keys.find((key) => !known.has(key) && known.has(key.toLowerCase()));
  return other === undefined ? undefined : misread(`\`${other}\` differs from a known field only in case.`, 'AmbiguousField');
};

const wholeNumber = (value: Json | undefined, max: number, min: number): boolean =>
  typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max;

/** A whole number. */
export const count = (body: JsonObject, field: string, max: number, min = 1): number | undefined | Misread => {
  const value = body[field];
  if (!given(value)) return undefined;
  return wholeNumber(value, max, min) ? (value as number) : misread(`\`${field}\` must be an integer from ${min} to ${max}.`);
};

export const MAX_LIMIT = 2 ** 31;
const MAX_MODEL = 256;

/** The name of the model, by URL or body. */
export const modelOf = (dialect: Dialect, target: RequestTarget, model: Json | undefined): { readonly model?: string } | Misread => {
  const fixed = dialect.modelInPath?.(target);
  if (fixed !== undefined) return { model: fixed };
  if (!given(model) && dialect.modelOptional) return {};
  return typeof model === 'string' && model !== '' && model.length <= MAX_MODEL ? { model } : misread('`model` must be the name of a model.');
};

export const streamOf = ({ stream }: JsonObject): boolean | Misread => {
  if (!given(stream)) return false;
  return typeof stream === 'boolean' ? stream : misread('`stream` must be true or false.');
};

/** Every text in a value, however deep. */
const textsOf = (value: Json | undefined): readonly string[] => {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(textsOf) : [];
};

const LOOKS_LIKE_URL = /^\s*[a-z][a-z0-9+.-]*:[\\/]{2}/i;

/** The host of a URL; `*` when nobody can tell. */
export const hostOfUrl = (text: string): string => URL.parse(text)?.hostname || '*';

/** Hosts of every text in a value that looks like a URL, whatever its field is called. */
export const hostsIn = (value: Json | undefined): readonly string[] => [
  ...new Set(
    textsOf(value)
      .filter((text) => LOOKS_LIKE_URL.test(text))
      .map(hostOfUrl),
  ),
];

/**
 * Hosts that the provider would fetch from for a part of a message that is no text; `data:` URLs carry their content themselves.
 * Where an image is named anything else is a URL.
 */
export const fetchesOfPart = (part: JsonObject): readonly string[] => {
  const image = part['image_url'];
  const url = isObject(image) ? image['url'] : image;
  const named = typeof url === 'string' && !/^data:/i.test(url) ? [hostOfUrl(url)] : [];
  return [...new Set([...named, ...hostsIn(part)])];
};

/** A list of objects. */
export const objects = (value: Json | undefined): readonly JsonObject[] | undefined =>
  Array.isArray(value) && value.every(isObject) ? (value as readonly JsonObject[]) : undefined;
