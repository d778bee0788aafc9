import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * What a real kube-apiserver said, kept so that our server can be held against it without one. Written by
 * `GOLDEN=write npx vitest run --config vitest.long.config.ts test/long/parity.test.ts`; look at the difference before committing it.
 */
const folder = join(import.meta.dirname, '..', 'golden', 'parity');
const fileOf = (name: string): string => join(folder, `${name.replaceAll(/[^\w/]+/g, '-')}.json`);

export type Golden = Readonly<Record<string, unknown>>;

export const readGolden = (name: string): Golden => (existsSync(fileOf(name)) ? (JSON.parse(readFileSync(fileOf(name), 'utf8')) as Golden) : {});

/** One line a case, so that a difference is one line too. */
export const writeGolden = (name: string, content: Golden): void => {
  const lines = Object.entries(content).map(([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`);
  mkdirSync(dirname(fileOf(name)), { recursive: true });
  writeFileSync(fileOf(name), `{\n${lines.join(',\n')}\n}\n`);
};
