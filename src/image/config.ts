import { ClrkError } from '#lib';
import { parseImageReference } from './name.ts';
import { digestOfName, getJson, type Manifest } from './oci.ts';

/** What an image says about the process it is made for. */
export interface ImageConfig {
  /** `NAME=value` lines. */
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  /** Absolute; `/` when the image names none. */
  readonly workingDir: string;
  /** `user[:group]`, names or numbers; empty = root. */
  readonly user: string;
}

export interface ResolvedImage {
  /** Manifest digest. */
  readonly digest: string;
  readonly config: ImageConfig;
}

/** The part of an OCI image configuration that is acted on (image-spec, config.md). */
export interface ConfigBlob {
  readonly created: string;
  readonly architecture: string;
  readonly os: string;
  readonly config: {
    readonly User?: string;
    readonly Env?: readonly string[] | null;
    readonly Entrypoint?: readonly string[] | null;
    readonly Cmd?: readonly string[] | null;
    readonly WorkingDir?: string;
  };
  readonly rootfs: { readonly type: 'layers'; readonly diff_ids: readonly string[] };
}

/**
 * What `image` (a name, `name:tag`, `name@digest` or a digest) is in the local store, or undefined when it is not there.
 * Throws Internal when the store holds a damaged image.
 */
export const resolveImage = async (store: string, image: string): Promise<ResolvedImage | undefined> => {
  const reference = parseImageReference(image);
  const digest = reference?.digest ?? (reference && (await digestOfName(store, reference.name)));
  const manifest = digest && (await getJson<Manifest>(store, digest));
  if (!digest || !manifest) return undefined;
  const blob = await getJson<ConfigBlob>(store, manifest.config?.digest ?? '');
  if (!blob) throw new ClrkError('Internal', { what: `image ${image} has lost its configuration ${manifest.config.digest}` });
  const { User, Env, Entrypoint, Cmd, WorkingDir } = blob.config ?? {};
  return { digest, config: { env: Env ?? [], entrypoint: Entrypoint ?? [], cmd: Cmd ?? [], workingDir: WorkingDir || '/', user: User ?? '' } };
};
