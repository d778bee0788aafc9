/**
 * Image references as the local store keeps them. Source of the grammar:
 * https://github.com/distribution/reference/blob/main/reference.go
 */

const COMPONENT = '[a-z0-9]+(?:(?:\\.|_{1,2}|-+)[a-z0-9]+)*';
const HOST = '[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::\\d+)?';
const REFERENCE = new RegExp(`^(?<name>(?:${HOST}/)?${COMPONENT}(?:/${COMPONENT})*)(?::(?<tag>\\w[\\w.-]{0,127}))?(?:@(?<digest>sha256:[0-9a-f]{64}))?$`);

export interface ImageReference {
  /** Name with tag, `latest` when none was written. */
  readonly name: string;
  /** Set when the reference pins content; the name is then only a comment. */
  readonly digest?: string;
}

/** Reads `name[:tag][@sha256:…]`, or undefined when the text is none. */
export const parseImageReference = (text: string): ImageReference | undefined => {
  if (/^sha256:[0-9a-f]{64}$/.test(text)) return { name: text, digest: text };
  const { name, tag, digest } = REFERENCE.exec(text)?.groups ?? {};
  if (!name) return undefined;
  return { name: `${name}:${tag ?? 'latest'}`, ...(digest ? { digest } : {}) };
};
