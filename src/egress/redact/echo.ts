/**
 * What was injected into a request, by what Envoy tells of it, and the texts it is looked for as. The script in `translate/credential-lua`
 * does the same for headers and errors; this is for whole bodies. Bytes are characters of one byte each (latin1) here.
 */

/** How the credential went into the request. */
export type EchoKind = 'header' | 'query' | 'aws';

/** Shorter parts of a value are not looked for on their own. */
const MIN_BARE = 8;
const MIN_BASE64 = 4;

const percentDecoded = (text: string): string =>
  text.replaceAll('+', ' ').replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));

const valuesOf = (kind: EchoKind, echo: string): readonly string[] => {
  if (kind === 'query') return [percentDecoded(/[?&][^?&=]*=([^&]*)$/.exec(echo)?.[1] ?? '')];
  if (kind === 'aws') {
    const [, signature = '', token = ''] = /Signature=([0-9a-f]+) *(.*)$/.exec(echo) ?? [];
    return token === '' || token === '-' ? [signature] : [signature, token];
  }
  const bare = /^[A-Za-z][\w-]* +(.+)$/.exec(echo)?.[1];
  return [bare !== undefined && bare.length >= MIN_BARE ? bare : echo];
};

/** The part of base64 text that is the same whatever stands before and after the value, at each of three alignments, in both alphabets. */
const base64Of = (value: string): readonly string[] =>
  [0, 1, 2].flatMap((offset) => {
    const text = Buffer.from('\0'.repeat(offset) + value, 'latin1')
      .toString('base64')
      .replaceAll('=', '');
    const core = text.slice(Math.ceil((offset * 8) / 6), Math.floor(((offset + value.length) * 8) / 6));
    return core.length < MIN_BASE64 ? [] : [core, core.replaceAll('+', '-').replaceAll('/', '_')];
  });

/** Throws when it cannot be told what to look for: then nothing may pass. */
export const needlesOf = (kind: EchoKind, echo: string): readonly string[] => {
  const values = valuesOf(kind, echo);
  if (values.includes('')) throw new Error('what was injected is not told');
  return [...new Set(values.flatMap((value) => [value, ...base64Of(value)]))];
};
