import { parseQuantity } from '#lib';
import type { FieldError } from './kind.ts';
import { object, quantity, type Infer } from './schema.ts';

/** Limits of one run (spec.resources of an agent). */
export const resources = object(
  'Limits of one run: of its whole sandbox, which itself needs about 32 MiB.',
  {},
  {
    cpu: quantity('CPUs, as a share of time; 1 when absent.'),
    memory: quantity('Memory; there is no swap, and more ends the run OOMKilled. 512Mi when absent.'),
    ephemeralStorage: quantity(
      'What can be written to the root file system, and once more to /tmp; beyond it writing fails (ENOSPC). It is memory and counts as such. Half of memory when absent.',
    ),
  },
);
export type Resources = Infer<typeof resources>;

const DEFAULT_CPU = '1';
const DEFAULT_MEMORY = '512Mi';

/** Smallest and largest values that make sense, and why. */
const BOUNDS: Readonly<Record<keyof Resources, { readonly min: string; readonly max: string; readonly why: string }>> = {
  cpu: { min: '10m', max: '4096', why: 'the kernel gives no smaller share' },
  memory: { min: '32Mi', max: '64Ti', why: 'the sandbox itself needs about 32Mi' },
  ephemeralStorage: { min: '64Ki', max: '64Ti', why: 'files in memory come in pages' },
};

/** What is wrong with the quantities, at most one error a field. */
export const resourceErrors = (asked: Resources | undefined, path: string): FieldError[] =>
  Object.entries(BOUNDS).flatMap(([name, { min, max, why }]) => {
    const text = asked?.[name as keyof Resources];
    if (text === undefined) return [];
    const value = parseQuantity(text);
    const bad = (message: string): FieldError[] => [
      { field: `${path}.${name}`, reason: 'FieldValueInvalid', message: `Invalid value: ${JSON.stringify(text)}: ${message}` },
    ];
    if (value === undefined) return bad('must be a quantity such as 500m, 2 or 512Mi');
    if (value < parseQuantity(min)!) return bad(`must be at least ${min}: ${why}`);
    if (value > parseQuantity(max)!) return bad(`must be at most ${max}`);
    return [];
  });

/** Valid resources as numbers, with defaults. */
export const runResources = (asked: Resources | undefined): { readonly cpus: number; readonly memoryBytes: number; readonly storageBytes: number } => {
  const memoryBytes = Math.floor(parseQuantity(asked?.memory ?? DEFAULT_MEMORY)!);
  const storage = asked?.ephemeralStorage;
  return {
    cpus: parseQuantity(asked?.cpu ?? DEFAULT_CPU)!,
    memoryBytes,
    storageBytes: Math.floor(storage === undefined ? memoryBytes / 2 : parseQuantity(storage)!),
  };
};
