/**
 * Writes everything that is derived (`npm run gen`), or compares it with what is committed (`--check`: exit 1 on a difference).
 * A generator is a function that gives the files of a folder; add one = add a line to GENERATORS.
 */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { messageOf, run } from '../src/lib/index.ts';
import { genCrds } from './gen-crds.ts';
import { genDependencies } from './gen-dependencies.ts';
import { genDocs } from './gen-docs.ts';
import { genKinds } from './gen-kinds.ts';
import { genRbac } from './gen-rbac.ts';
import { genWasm } from './gen-wasm.ts';
import { genXds } from './gen-xds.ts';

/** Path from the root of the checkout -> content. */
export type Files = Map<string, string>;

const root = join(import.meta.dirname, '..');
const tools = process.env['CLRK_TOOLS'] ?? join(process.env['CLRK_DIR'] ?? join(homedir(), '.clrk'), 'tools');

const filesUnder = async (dir: string): Promise<string[]> => {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile()).map((entry) => relative(root, join(entry.parentPath, entry.name)));
};

/** Protobuf types of our own services. */
const genWire = async (): Promise<Files> => {
  const out = await mkdtemp(join(tmpdir(), 'clrk-gen-'));
  try {
    const env = { ...process.env, PATH: `${join(root, 'node_modules', '.bin')}:${process.env['PATH']}` };
    await run('buf', ['generate', '--output', out], { cwd: root, env });
    const files: Files = new Map();
    for (const entry of await readdir(out, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      files.set(relative(out, path), await readFile(path, 'utf8'));
    }
    return files;
  } finally {
    await rm(out, { recursive: true, force: true });
  }
};

const GENERATORS: readonly { readonly name: string; readonly owns: readonly string[]; readonly make: () => Promise<Files> }[] = [
  { name: 'protobuf', owns: ['src/wire/gen/clrk'], make: genWire },
  { name: 'xDS', owns: ['src/wire/gen/xds'], make: () => genXds(join(tools, 'bin', 'envoy')) },
  { name: 'WebAssembly', owns: ['src/egress/translate/wasm/gen'], make: genWasm },
  { name: 'CRDs', owns: ['manifests/crds'], make: genCrds },
  { name: 'RBAC', owns: ['manifests/rbac'], make: genRbac },
  { name: 'reference docs', owns: ['docs/reference'], make: async () => new Map([...(await genDocs()), ...(await genDependencies()), ...genKinds()]) },
];

const check = process.argv.includes('--check');
let differences = 0;
for (const { name, owns, make } of GENERATORS) {
  try {
    const files = await make();
    for (const [path, content] of files) {
      const at = join(root, path);
      const now = await stat(at).then(
        () => readFile(at, 'utf8'),
        () => undefined,
      );
      if (now === content) continue;
      differences++;
      console.error(`${check ? 'differs' : 'wrote'}: ${path}`);
      if (!check) {
        await mkdir(dirname(at), { recursive: true });
        await writeFile(at, content);
      }
    }
    for (const dir of owns) {
      for (const path of await filesUnder(join(root, dir))) {
        if (files.has(path)) continue;
        differences++;
        console.error(`${check ? 'not generated' : 'removed'}: ${path}`);
        if (!check) await rm(join(root, path));
      }
    }
  } catch (error) {
    console.error(`generating ${name} failed: ${messageOf(error)}`);
    process.exit(1);
  }
}
if (check && differences > 0) {
  console.error('Derived files differ from their sources: run `npm run gen` and commit the result.');
  process.exit(1);
}
