import { secrets } from '#api';
import type { Target } from './target.ts';

/** Creates or updates an Opaque Secret; keys that are not in `data` stay when another manager owns them. */
export const applySecret = async ({ client }: Target, namespace: string, name: string, data: Readonly<Record<string, string | Uint8Array>>): Promise<void> => {
  const encoded = Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString('base64')]));
  const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace }, type: 'Opaque', data: encoded };
  await client.apply(secrets, secret, { fieldManager: 'clrk-dev', force: true });
};
