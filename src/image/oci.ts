import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, mkdir, mkdtemp, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ClrkError, canonicalJson, readIfExists, spawnChild, systemCode, writeFileAtomic } from '#lib';

/**
 * An OCI image layout on disk. Source: https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md
 * Blobs are content-addressed and never change, so only `index.json` needs a lock.
 */

export const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';
export const CONFIG_TYPE = 'application/vnd.oci.image.config.v1+json';
export const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar';
const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json';
const REF_NAME = 'org.opencontainers.image.ref.name';

export interface Descriptor {
  readonly mediaType: string;
  /** `sha256:<64 hex digits>`. */
  readonly digest: string;
  /** Bytes. */
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface Manifest {
  readonly schemaVersion: 2;
  readonly mediaType: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

interface Index {
  readonly schemaVersion: 2;
  readonly mediaType: string;
  readonly manifests: readonly Descriptor[];
}

const DIGEST = /^sha256:([0-9a-f]{64})$/;

/** The file of a blob; throws on anything that is not a SHA-256 digest, so that no name can leave the store. */
export const blobPath = (store: string, digest: string): string => {
  const hex = DIGEST.exec(digest)?.[1];
  if (!hex) throw new ClrkError('Internal', { what: `${JSON.stringify(digest)} is not a SHA-256 digest` });
  return join(store, 'blobs', 'sha256', hex);
};

export const openStore = async (store: string): Promise<void> => {
  await mkdir(join(store, 'blobs', 'sha256'), { recursive: true });
  if ((await readIfExists(join(store, 'oci-layout'))) === undefined) {
    await writeFileAtomic(join(store, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}', 0o644);
  }
};

/** A directory inside the store for half-made things, gone when disposed. Its name carries our pid, see `sweepStore`. */
export const temporaryDir = async (store: string): Promise<{ readonly path: string } & AsyncDisposable> => {
  const path = await mkdtemp(join(store, `.tmp-${process.pid}-`));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
};

/** Adds a blob that was written to `file` (inside the store); returns its descriptor. */
export const adoptBlob = async (store: string, file: string, mediaType: string): Promise<Descriptor> => {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    hash.update(chunk);
    size += chunk.length;
  }
  const digest = `sha256:${hash.digest('hex')}`;
  await rename(file, blobPath(store, digest));
  return { mediaType, digest, size };
};

export const putJson = async (store: string, value: object, mediaType: string): Promise<Descriptor> => {
  const bytes = Buffer.from(canonicalJson(value));
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  await writeFileAtomic(blobPath(store, digest), bytes, 0o644);
  return { mediaType, digest, size: bytes.length };
};

export const hasBlob = (store: string, digest: string): Promise<boolean> =>
  access(blobPath(store, digest)).then(
    () => true,
    () => false,
  );

/** A JSON blob, or undefined when the store does not hold it. */
export const getJson = async <T>(store: string, digest: string): Promise<T | undefined> => {
  try {
    return JSON.parse(await readFile(blobPath(store, digest), 'utf8')) as T;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
};

const EMPTY: Index = { schemaVersion: 2, mediaType: INDEX_TYPE, manifests: [] };
const readIndex = async (store: string): Promise<Index> => {
  const text = await readIfExists(join(store, 'index.json'));
  return text === undefined ? EMPTY : (JSON.parse(text) as Index);
};

/** The manifest digest a name stands for now. */
export const digestOfName = async (store: string, name: string): Promise<string | undefined> =>
  (await readIndex(store)).manifests.find(({ annotations }) => annotations?.[REF_NAME] === name)?.digest;

/** Makes `name` stand for a manifest. Safe against other processes doing the same. */
export const setName = async (store: string, name: string, manifest: Descriptor): Promise<void> => {
  await using _ = await lock(join(store, '.lock'));
  const index = await readIndex(store);
  const others = index.manifests.filter(({ annotations }) => annotations?.[REF_NAME] !== name);
  const manifests = [...others, { ...manifest, annotations: { [REF_NAME]: name } }];
  await writeFileAtomic(join(store, 'index.json'), JSON.stringify({ ...index, manifests }), 0o644);
};

/** An exclusive lock of the kernel's (flock(2)), held by a child that ends when its input does: a crash cannot leave it behind. */
const lock = async (file: string): Promise<AsyncDisposable> => {
  await (await open(file, 'a')).close();
  const child = spawnChild('flock', ['--exclusive', file, 'cat'], { stdio: ['pipe', 'pipe', 'ignore'] });
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const held = new Promise<void>((resolve, reject) => {
    child.stdout!.once('data', () => resolve());
    child.once('error', reject);
    child.once('close', () => reject(new ClrkError('Internal', { what: `cannot lock ${file}` })));
  });
  child.stdin!.on('error', () => {}); // a child that could not start is reported by `held`
  child.stdin!.write('\n');
  await held;
  return {
    async [Symbol.asyncDispose]() {
      child.stdin!.end();
      await closed;
    },
  };
};
