import { join } from 'node:path';

/** The root of this checkout. */
export const APP = join(import.meta.dirname, '..', '..');
