import type { Json, JsonObject } from '../../json.ts';
import { countAt, hostOfUrl, isAbsent, misread, urlHostsIn } from '../fields.ts';
import type { Misread, RequestTarget } from '../provider.ts';

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
  /** Whether a model searches the web whatever it is asked. */
  searches?(model: string): boolean;
  /** Refuses a field by which a server of this kind might do more, or other things, than what was judged. */
  strayFields?(body: JsonObject): Misread | undefined;
}

/** Null counts as absent, as it does for the provider. */
export const given = (value: Json | undefined): value is Exclude<Json, null> => !isAbsent(value);

export const count = (body: JsonObject, field: string, max?: number): number | undefined | Misread => countAt(body[field], field, max);

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

/** Names of fields that are URLs, whatever their text looks like: `image_url` and `url` in it, `file_url`, … */
const URL_FIELD = /(?:^|_)ur[il]$/i;

const namedUrls = (value: Json | undefined, field = ''): readonly string[] => {
  if (typeof value === 'string') return URL_FIELD.test(field) && !/^\s*data:/i.test(value) ? [value] : [];
  if (typeof value !== 'object' || value === null) return [];
  // An item of a list has the name of the list.
  return Object.entries(value as object).flatMap(([key, item]: [string, Json]) => namedUrls(item, Array.isArray(value) ? field : key));
};

/** Hosts that the provider would fetch from for a part that is no text; `data:` URLs carry their content themselves. */
export const fetchesOfPart = (part: JsonObject): readonly string[] => [...new Set([...namedUrls(part).map(hostOfUrl), ...urlHostsIn(part)])];
