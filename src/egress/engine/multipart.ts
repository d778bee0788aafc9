import { randomBytes } from 'node:crypto';
import type { FormPart } from '#policy';
import { Refusal } from './request.ts';

/**
 * `multipart/form-data` (RFC 7578), read so that there is one reading only: no text around the parts, no padding, no header but
 * those a form needs, names in plain quotes. What is forwarded is written anew.
 */

const CONTENT_TYPE = /^multipart\/form-data\s*;\s*boundary=(?:"([0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-])"|([0-9A-Za-z'+_.-]{1,70}))\s*$/i;
const DISPOSITION = /^form-data; ?name="([^"\\\r\n]{1,256})"(?:; ?filename="([^"\\\r\n]{0,1024})")?$/i;
/** Encodings that are none; other ones are deprecated, and read by some servers. */
const PLAIN = new Set(['binary', '8bit', '7bit']);
const MAX_PARTS = 256;
const MAX_HEADERS = 4096;

const refuse = (message: string, reason = 'InvalidForm'): never => {
  throw new Refusal(400, reason, message);
};

/** The boundary that a content type names; undefined when it is not one of a form. */
export const boundaryOf = (contentType: string): string | undefined => {
  const match = CONTENT_TYPE.exec(contentType);
  return match?.[1] ?? match?.[2];
};

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const textOf = (bytes: Uint8Array): string => {
  try {
    return utf8.decode(bytes);
  } catch {
    return refuse('The headers of a part of the form are not UTF-8.');
  }
};

const readHeaders = (bytes: Uint8Array): Omit<FormPart, 'data'> => {
  let named: Pick<FormPart, 'name' | 'filename'> | undefined;
  let type: string | undefined;
  const seen = new Set<string>();
  for (const line of textOf(bytes).split('\r\n')) {
    const [, key = '', value = ''] = /^([A-Za-z-]+): ?([^\r\n\0]*)$/.exec(line) ?? refuse('A header of a part of the form cannot be read.');
    const header = key.toLowerCase();
    if (seen.has(header)) refuse(`A part of the form has the header ${key} twice.`);
    seen.add(header);
    if (header === 'content-disposition') {
      const [, name, filename] = DISPOSITION.exec(value) ?? refuse('A part of the form has a name that cannot be read in one way only.');
      named = { name: name!, ...(filename !== undefined && { filename }) };
    } else if (header === 'content-type') type = value;
    else if (header === 'content-transfer-encoding' && !PLAIN.has(value.toLowerCase())) refuse('A part of the form is encoded.');
    else if (header !== 'content-transfer-encoding' && header !== 'content-length') refuse(`A part of the form has the header ${key}.`);
  }
  return { ...(named ?? refuse('A part of the form has no name.')), ...(type !== undefined && { type }) };
};

/** The parts of a form, or a Refusal. */
export const readForm = (body: Uint8Array, boundary: string): readonly FormPart[] => {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const delimiter = Buffer.from(`\r\n--${boundary}`);
  if (!bytes.subarray(0, delimiter.length - 2).equals(delimiter.subarray(2))) refuse('The form does not begin with its boundary.');
  const parts: FormPart[] = [];
  const names = new Set<string>();
  let at = delimiter.length - 2;
  while (bytes.toString('latin1', at, at + 2) === '\r\n') {
    const headersEnd = bytes.subarray(0, at + 2 + MAX_HEADERS).indexOf('\r\n\r\n', at);
    const end = headersEnd < 0 ? -1 : bytes.indexOf(delimiter, headersEnd + 2);
    if (end < headersEnd + 4 && end !== headersEnd + 2) refuse('The form ends within a part.');
    if (end === headersEnd + 2) refuse('The form has a part without an empty line.');
    const part = { ...readHeaders(bytes.subarray(at + 2, headersEnd)), data: bytes.subarray(headersEnd + 4, end) };
    if (names.has(part.name) && !part.name.endsWith('[]')) refuse(`The form has the field ${JSON.stringify(part.name.slice(0, 100))} twice.`, 'DuplicateKey');
    names.add(part.name);
    parts.push(part);
    if (parts.length > MAX_PARTS) refuse(`The form has more than ${MAX_PARTS} parts.`);
    at = end + delimiter.length;
  }
  if (!['--', '--\r\n'].includes(bytes.toString('latin1', at))) refuse('The form has text around its parts.');
  return parts;
};

/** A form with a boundary that nobody could have put into a part. */
export const writeForm = (parts: readonly FormPart[]): { readonly bytes: Uint8Array; readonly contentType: string } => {
  const boundary = `clrk-${randomBytes(18).toString('hex')}`;
  const chunks = parts.flatMap(({ name, filename, type, data }) => [
    Buffer.from(
      [
        `--${boundary}`,
        `content-disposition: form-data; name="${name}"${filename === undefined ? '' : `; filename="${filename}"`}`,
        ...(type === undefined ? [] : [`content-type: ${type}`]),
        '',
        '',
      ].join('\r\n'),
    ),
    data,
    Buffer.from('\r\n'),
  ]);
  return { bytes: Buffer.concat([...chunks, Buffer.from(`--${boundary}--\r\n`)]), contentType: `multipart/form-data; boundary=${boundary}` };
};
