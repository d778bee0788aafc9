import { ensureUnpacked, parseImageReference, resolveImage, type ImageConfig } from '#image';
import { ClrkError, messageOf } from '#lib';
import type { DesiredRevision, ImageState } from '#model';

export interface ReadyImage {
  readonly digest: string;
  /** Directory of the unpacked image, shared by all its sandboxes. */
  readonly rootfs: string;
  readonly config: ImageConfig;
}

/** Why an image cannot be used: `ImageNotFound` or `ImageInvalid`. */
export class ImageError extends Error {
  readonly reason: string;
  constructor(reason: string, message: string) {
    super(message);
    this.reason = reason;
  }
}

/** The images of a worker's revisions, unpacked once. A revision keeps the content it got first: a moved tag is for the next one. */
export class Images {
  readonly #store: string;
  readonly #pinned = new Map<string, string>();
  readonly #unpacking = new Map<string, Promise<string>>();

  constructor(store: string) {
    this.#store = store;
  }

  /** The image of a revision (`namespace/name`), ready to run. Throws ImageError. */
  async get(revision: string, image: string): Promise<ReadyImage> {
    try {
      const pinned = parseImageReference(image)?.digest ?? this.#pinned.get(revision);
      const resolved = await resolveImage(this.#store, pinned ?? image);
      if (!resolved) throw notFound(image);
      const { digest, config } = resolved;
      const rootfs = await this.#unpacked(digest);
      this.#pinned.set(revision, digest);
      return { digest, config, rootfs };
    } catch (error) {
      throw error instanceof ImageError ? error : new ImageError('ImageInvalid', `Image ${image} cannot be unpacked: ${messageOf(error)}`);
    }
  }

  /** Digest of the content a revision runs with; undefined before it was ready for the first time. */
  digestOf(revision: string, image: string): string | undefined {
    return this.#pinned.get(revision) ?? parseImageReference(image)?.digest;
  }

  /** The same as a state to report. */
  async state({ namespace, name, image }: DesiredRevision): Promise<ImageState> {
    const revision = `${namespace}/${name}`;
    try {
      const { digest } = await this.get(revision, image);
      return { revision, ready: true, digest, reason: '', message: '' };
    } catch (error) {
      const reason = error instanceof ImageError ? error.reason : 'ImageInvalid';
      return { revision, ready: false, digest: '', reason, message: messageOf(error) };
    }
  }

  #unpacked(digest: string): Promise<string> {
    let unpacking = this.#unpacking.get(digest);
    if (!unpacking) {
      unpacking = ensureUnpacked(this.#store, digest).finally(() => this.#unpacking.delete(digest));
      this.#unpacking.set(digest, unpacking);
    }
    return unpacking;
  }
}

const notFound = (image: string): ImageError => {
  const { message, fix } = new ClrkError('ImageNotFound', { image });
  return new ImageError('ImageNotFound', `${message} ${fix}`);
};
