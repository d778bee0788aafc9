import type { Json, JsonObject } from '../../json.ts';
import type { BodyFacts, FormOperation, FormPart, JsonOperation, Misread } from '../provider.ts';
import { isMisread, lookalikeOf, misread } from '../fields.ts';
import { count, fetchesOfPart, modelOf, streamOf, type Dialect } from './fields.ts';

/**
 * Images and audio. No field of these requests caps what they use: it fits into a budget whole, or is refused. What is answered
 * without usage (models that are not counted in tokens, sound without events) costs its bound.
 */

const IMAGE_FIELDS = new Set(['model', 'prompt', 'n', 'stream']);

const imageFacts = (body: JsonObject): Pick<BodyFacts, 'stream' | 'n' | 'fixedOutput'> | Misread => {
  const stream = streamOf(body);
  if (typeof stream === 'object') return stream;
  const n = count(body, 'n', 10);
  if (typeof n === 'object') return n;
  return { stream, n: n ?? 1, fixedOutput: true };
};

/** Source: https://platform.openai.com/docs/api-reference/images/create */
export const imageGenerations = (dialect: Dialect): JsonOperation => ({
  name: 'image_generation',
  body: 'json',
  read(target, body) {
    const unclear = lookalikeOf(body, IMAGE_FIELDS);
    if (unclear) return unclear;
    const named = modelOf({ ...dialect, modelOptional: true }, target, body['model']);
    if (isMisread(named)) return named;
    if (typeof body['prompt'] !== 'string') return misread('`prompt` must be text.');
    const facts = imageFacts(body);
    if (isMisread(facts)) return facts;
    return { ...named, ...facts, unknownInput: false, fetches: fetchesOfPart({ ...body, prompt: undefined }) };
  },
  edit: (_target, body) => body,
});

const SPEECH_FIELDS = new Set(['model', 'input', 'stream_format']);

/** Source: https://platform.openai.com/docs/api-reference/audio/createSpeech */
export const speech = (dialect: Dialect): JsonOperation => ({
  name: 'speech',
  body: 'json',
  read(target, body) {
    const unclear = lookalikeOf(body, SPEECH_FIELDS);
    if (unclear) return unclear;
    const named = modelOf(dialect, target, body['model']);
    if (isMisread(named)) return named;
    if (typeof body['input'] !== 'string') return misread('`input` must be text.');
    return { ...named, stream: body['stream_format'] === 'sse', n: 1, fixedOutput: true, unknownInput: false, fetches: [] };
  },
  edit: (_target, body) => body,
});

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Fields of a form that are texts. */
const textsOf = (parts: readonly FormPart[]): Readonly<Record<string, string>> | Misread => {
  const fields: Record<string, string> = {};
  for (const { name, filename, data } of parts) {
    if (filename !== undefined) continue;
    try {
      fields[name] = utf8.decode(data);
    } catch {
      return misread(`\`${name.slice(0, 100)}\` is not UTF-8.`);
    }
  }
  return fields;
};

/** A number or truth value as a JSON body would have it. */
const valueOf = (text: string | undefined): Json | undefined => {
  if (text === 'true' || text === 'false') return text === 'true';
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : text;
};

interface Form {
  readonly name: string;
  /** Fields that are files; their tokens cannot be seen. All others are texts. */
  readonly files: ReadonlySet<string>;
  /** Texts that are acted on. */
  readonly texts: ReadonlySet<string>;
  readonly dialect: Dialect;
}

const formOperation = ({ name, files, texts, dialect }: Form): FormOperation => ({
  name,
  body: 'multipart',
  read(target, parts) {
    const unclear = lookalikeOf(Object.fromEntries(parts.map((part) => [part.name, null])), new Set([...files, ...texts]));
    if (unclear) return unclear;
    const stray = parts.find((part) => (part.filename !== undefined) !== files.has(part.name.replace(/\[\]$/, '')));
    if (stray) return misread(`\`${stray.name.slice(0, 100)}\` must${stray.filename === undefined ? '' : ' not'} be a file.`);
    const fields = textsOf(parts);
    if (isMisread(fields)) return fields as Misread;
    const named = modelOf(dialect, target, fields['model']);
    if (isMisread(named)) return named;
    const facts = imageFacts({ n: valueOf(fields['n']), stream: valueOf(fields['stream']) });
    if (isMisread(facts)) return facts;
    return { ...named, ...facts, unknownInput: true, fetches: fetchesOfPart({ ...fields, prompt: undefined }) };
  },
  edit: (_target, parts) => parts,
});

/** Source: https://platform.openai.com/docs/api-reference/images/createEdit */
export const imageEdits = (dialect: Dialect): FormOperation =>
  formOperation({
    name: 'image_edit',
    files: new Set(['image', 'mask']),
    texts: new Set(['model', 'prompt', 'n', 'stream']),
    dialect: { ...dialect, modelOptional: true },
  });

/** Source: https://platform.openai.com/docs/api-reference/audio/createTranscription */
export const transcriptions = (dialect: Dialect): FormOperation =>
  formOperation({ name: 'transcription', files: new Set(['file']), texts: new Set(['model', 'prompt', 'stream']), dialect });
