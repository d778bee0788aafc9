import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { isObject, type JsonObject } from '#admission';
import { ApiError } from '#kube';
import { run } from '#lib';
import { paint, printable, type Io } from '../output.ts';
import type { Target } from '../target.ts';
import { bodyOf, shortName, type Addressed } from './apply.ts';
import { badManifests, serverProblems } from './problems.ts';

/** What applying a manifest would change: the server applies it as a dry run, and the answer is compared with what is there. */

/** Fields that say who wrote and when, not what. */
const comparable = (object: JsonObject | undefined): JsonObject | undefined => {
  if (!object) return undefined;
  const { managedFields: _managed, resourceVersion: _version, uid: _uid, creationTimestamp: _created, ...metadata } = object['metadata'] as JsonObject;
  return { ...object, metadata };
};

/** Values of a Secret show only whether they differ. */
const masked = (before: JsonObject | undefined, after: JsonObject | undefined): [JsonObject | undefined, JsonObject | undefined] => {
  const dataOf = (object: JsonObject | undefined): JsonObject => (isObject(object?.['data']) ? object['data'] : {});
  const [old, now] = [dataOf(before), dataOf(after)];
  const cover = (object: JsonObject | undefined, other: JsonObject, side: string): JsonObject | undefined => {
    if (!object || !('data' in object)) return object;
    const covered = Object.entries(dataOf(object)).map(([key, value]) => [key, other[key] === value ? '***' : `*** (${side})`]);
    return { ...object, data: Object.fromEntries(covered) as JsonObject };
  };
  return [cover(before, now, 'before'), cover(after, old, 'after')];
};

const text = (object: JsonObject | undefined): string => (object ? stringify(object, { lineWidth: 0, sortMapEntries: true, aliasDuplicateObjects: false }) : '');

/** The difference of two texts in the unified form of diff(1); empty when there is none. */
const unified = async (name: string, before: string, after: string): Promise<string> => {
  if (before === after) return '';
  const dir = await mkdtemp(join(tmpdir(), 'clrk-diff-')); // mode 0700
  try {
    const [live, merged] = [join(dir, 'live'), join(dir, 'merged')];
    await Promise.all([writeFile(live, before), writeFile(merged, after)]);
    const labels = ['--label', `live/${name}`, '--label', `applied/${name}`];
    return (await run('diff', ['-u', '--text', ...labels, live, merged], { accept: [1] })).stdout;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
};

/** Empty when applying the manifest would change nothing. Throws BadManifests when the server would refuse it. */
export const diffOne = async ({ client }: Target, item: Addressed, force: boolean): Promise<string> => {
  const { manifest, kind, name, namespace } = item;
  try {
    const live = (await client.get(kind, namespace, name)) as JsonObject | undefined;
    const applied = (await client.apply(kind, bodyOf(item), { fieldManager: 'clrk', force, dryRun: true })) as unknown as JsonObject;
    const sides = [comparable(live), comparable(applied)] as const;
    const [before, after] = kind.kind === 'Secret' && kind.group === '' ? masked(...sides) : sides;
    return await unified(namespace ? `${namespace}/${shortName(item)}` : shortName(item), text(before), text(after));
  } catch (error) {
    if (error instanceof ApiError) throw badManifests(serverProblems(manifest, error));
    throw error;
  }
};

const styleOf = (line: string): 'bold' | 'dim' | 'green' | 'red' | undefined =>
  /^(---|\+\+\+) /.test(line) ? 'bold' : line.startsWith('@@') ? 'dim' : line.startsWith('+') ? 'green' : line.startsWith('-') ? 'red' : undefined;

/** A unified difference in colours, where there are any. */
export const paintDiff = (io: Io, difference: string): string =>
  difference
    .trimEnd()
    .split('\n')
    .map((line) => {
      const style = styleOf(line);
      return `${style ? paint(io, style, printable(line)) : printable(line)}\n`;
    })
    .join('');
