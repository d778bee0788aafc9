import { resolveImage } from '#image';
import { CONFIG_TYPE, getJson, MANIFEST_TYPE, putJson, setName, type Manifest } from '../../../src/image/oci.ts';

/** Names the same image, run by root inside (no capability all the same): one that can write to its root file system. */
export const asRoot = async (store: string, image: string, name: string): Promise<void> => {
  const { digest } = (await resolveImage(store, image))!;
  const manifest = (await getJson<Manifest>(store, digest))!;
  const config = (await getJson<{ config: object }>(store, manifest.config.digest))!;
  const changed = await putJson(store, { ...config, config: { ...config.config, User: '0:0' } }, CONFIG_TYPE);
  await setName(store, name, await putJson(store, { ...manifest, config: changed }, MANIFEST_TYPE));
};
