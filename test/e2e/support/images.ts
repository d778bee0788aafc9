import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { TestProject } from 'vitest/node';
import { buildImage } from '#image';
import { AGENT, APP, installAgent } from '../../fixtures/quickstart.ts';

export const SUMMARIZER = 'quickstart/summarizer:latest';
export const PROBE = 'test/probe:latest';

declare module 'vitest' {
  export interface ProvidedContext {
    /** An image store with the quickstart's agent and the probe. */
    readonly images: string;
  }
}

/** Vitest's global setup: builds the images once for all files; a stack gets them as hard links. */
export default async (project: TestProject): Promise<() => Promise<void>> => {
  const store = await mkdtemp(join(tmpdir(), 'clrk-e2e-images-'));
  await installAgent('node');
  const build = (name: string, dir: string) => buildImage({ store, name, dir, runtime: 'node', nodeBinary: process.execPath });
  await build(SUMMARIZER, AGENT);
  await build(PROBE, join(APP, 'test', 'fixtures', 'probe'));
  project.provide('images', store);
  return () => rm(store, { recursive: true, force: true });
};

/** A store with the same blobs, without their bytes. Blobs never change, and the index is replaced, not written. */
export const linkImages = async (from: string, to: string): Promise<void> => {
  await promisify(execFile)('cp', ['--archive', '--link', '--no-target-directory', from, to]);
};
