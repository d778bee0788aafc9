import { resolveImage } from '#image';
import { CONFIG_TYPE, getJson, MANIFEST_TYPE, putJson, setName, type Manifest } from '../../../src/image/oci.ts';

/** Names the same image, run by another user inside: by default root (no capability all the same), who can write to its root file system. */
export const asRoot = async (store: string, image: string, name: string, user = '0:0'): Promise<void> => {
  const { digest } = (await resolveImage(store, image))!;
  const manifest = (await getJson<Manifest>(store, digest))!;
  const config = (await getJson<{ config: object }>(store, manifest.config.digest))!;
  const changed = await putJson(store, { ...config, config: { ...config.config, User: user } }, CONFIG_TYPE);
  await setName(store, name, await putJson(store, { ...manifest, config: changed }, MANIFEST_TYPE));
};
