import { ensureUnpacked, parseImageReference, resolveImage, type ImageConfig } from '#image';
import { ClrkError, messageOf } from '#lib';
import type { ImageState, RunTemplate } from '#model';

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

/** The images of a worker's revisions, unpacked once. */
export class Images {
  readonly #store: string;
  readonly #unpacking = new Map<string, Promise<string>>();

  constructor(store: string) {
    this.#store = store;
  }

  /** An image, ready to run. A name stands for what it points to now, `name@digest` for that content. Throws ImageError. */
  async get(image: string): Promise<ReadyImage> {
    try {
      const resolved = await resolveImage(this.#store, image);
      if (!resolved) throw notFound(image);
      const { digest, config } = resolved;
      const rootfs = await this.#unpacked(digest);
      return { digest, config, rootfs };
    } catch (error) {
      throw error instanceof ImageError ? error : new ImageError('ImageInvalid', `Image ${image} cannot be unpacked: ${messageOf(error)}`);
    }
  }

  /** The same as a state to report. */
  async state({ namespace, revision: name, image }: RunTemplate): Promise<ImageState> {
    const revision = `${namespace}/${name}`;
    try {
      const { digest } = await this.get(image);
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
  const { name, digest } = parseImageReference(image) ?? {};
  if (digest) return new ImageError('ImageNotFound', `Image ${name} with digest ${digest} is not in the local image store.`);
  const { message, fix } = new ClrkError('ImageNotFound', { image });
  return new ImageError('ImageNotFound', `${message} ${fix}`);
};
