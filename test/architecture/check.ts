import { posix } from 'node:path';
import { parseSync } from 'oxc-parser';
import { MAX_LINES, MAX_PROGRAM_LINES, MODULES, PACKAGES, PURE, SIDE_DOORS } from './rules.ts';

/** A source file: its path below `src`, and its text. */
export interface Source {
  readonly path: string;
  readonly text: string;
}

interface Import {
  readonly specifier: string;
  readonly line: number;
  readonly typesOnly: boolean;
}

const lineAt = (text: string, offset: number): number => text.slice(0, offset).split('\n').length;

/** `import('x').Y` in a type: not in the module record, so the tree is walked for it. */
const typeImports = (node: unknown, found: { value: string; start: number }[] = []): { value: string; start: number }[] => {
  if (Array.isArray(node)) for (const child of node) typeImports(child, found);
  else if (typeof node === 'object' && node !== null) {
    const { type, source, start } = node as { type?: string; source?: { value: string }; start: number };
    if (type === 'TSImportType' && source) found.push({ value: source.value, start });
    for (const child of Object.values(node)) typeImports(child, found);
  }
  return found;
};

/** All imports of a file: static, re-exported, dynamic and in types. A dynamic import of an expression has specifier ''. */
export const importsOf = ({ path, text }: Source): Import[] => {
  const { module, program, errors } = parseSync(path, text);
  if (errors.length > 0) throw new Error(`${path}: ${errors[0]!.message}`);
  const found: Import[] = [];
  for (const { moduleRequest, entries, start, end } of module.staticImports) {
    const typesOnly = text.slice(start, end).startsWith('import type') || (entries.length > 0 && entries.every(({ isType }) => isType));
    found.push({ specifier: moduleRequest.value, line: lineAt(text, start), typesOnly });
  }
  for (const { entries, start } of module.staticExports) {
    const from = entries.filter(({ moduleRequest }) => moduleRequest);
    if (from.length > 0) found.push({ specifier: from[0]!.moduleRequest!.value, line: lineAt(text, start), typesOnly: from.every(({ isType }) => isType) });
  }
  for (const { moduleRequest, start } of module.dynamicImports) {
    const [, literal = ''] = /^['"`]([^'"`$]+)['"`]$/.exec(text.slice(moduleRequest.start, moduleRequest.end)) ?? [];
    found.push({ specifier: literal, line: lineAt(text, start), typesOnly: false });
  }
  for (const { value, start } of typeImports(program)) found.push({ specifier: value, line: lineAt(text, start), typesOnly: true });
  return found;
};

const moduleOf = (path: string): string => path.split('/')[0]!;
const isWithin = (path: string, place: string): boolean => path === place || path.startsWith(`${place}/`);
/** `@scope/name/sub` -> `@scope/name`; Node's modules keep their path. */
export const packageOf = (specifier: string): string =>
  specifier.startsWith('node:')
    ? specifier
    : specifier
        .split('/')
        .slice(0, specifier.startsWith('@') ? 2 : 1)
        .join('/');

const judgeRelative = (path: string, specifier: string): string | undefined => {
  const target = posix.normalize(posix.join(posix.dirname(path), specifier));
  if (moduleOf(target) !== moduleOf(path)) return 'a relative path leaves its module; another module is reached by its front door (#module)';
  for (const [door, { path: place, why }] of Object.entries(SIDE_DOORS)) {
    if (isWithin(target, place) && !isWithin(path, place)) return `what is behind ${door} is reached by that door only: ${why}`;
  }
  return undefined;
};

const judgeModule = (path: string, specifier: string): string | undefined => {
  const from = moduleOf(path);
  const side = SIDE_DOORS[specifier];
  if (side) return side.by.includes(from) ? undefined : `only ${side.by.join(', ')} may: ${side.why}`;
  const to = specifier.slice(1);
  if (!MODULES[to]) return 'there is no such front door in the table of test/architecture/rules.ts';
  const { may, why } = MODULES[from]!;
  if (to === from) return 'inside a module paths are relative';
  return may.includes('*') || may.includes(to) ? undefined : `${from} may import ${may.join(', ') || 'no module'}: ${why}`;
};

const judgePackage = (path: string, specifier: string, typesOnly: boolean): string | undefined => {
  const name = packageOf(specifier);
  const pure = PURE[moduleOf(path)];
  const rule = PACKAGES[name];
  if (!rule) {
    if (!name.startsWith('node:')) return 'the package is not in the table of test/architecture/rules.ts: say there who owns it and why';
    return pure && !pure.may.includes(name) ? `${moduleOf(path)} may use ${pure.may.join(', ') || 'nothing of Node'}: ${pure.why}` : undefined;
  }
  if (typesOnly && rule.typesFree) return undefined;
  return rule.owners.some((owner) => isWithin(path, owner)) ? undefined : `only ${rule.owners.join(', ')} may: ${rule.why}`;
};

const judge = (path: string, { specifier, typesOnly }: Import): string | undefined => {
  if (specifier === '') return 'a dynamic import needs a literal, so that this check can read it';
  if (specifier.startsWith('.')) return judgeRelative(path, specifier);
  if (specifier.startsWith('#')) return judgeModule(path, specifier);
  return judgePackage(path, specifier, typesOnly);
};

const SAYS = { consumes: /\bconsumes\b/i, produces: /\bproduces\b/i, owns: /\bown(s|ed)\b/i };

const frontDoor = (name: string, file: Source | undefined): string[] => {
  if (!file) return [`src/${name} has no front door index.ts`];
  const head = file.text
    .split('\n')
    .slice(0, 3)
    .filter((line) => line.startsWith('// '))
    .join(' ');
  const missing = Object.entries(SAYS).flatMap(([word, said]) => (said.test(head) ? [] : [word]));
  if (!head.startsWith(`// ${name}: `)) missing.unshift(`"// ${name}: "`);
  return missing.length > 0 ? [`src/${file.path}: its first three lines do not say ${missing.join(', ')}`] : [];
};

/** Everything that breaks the rules, each with its reason; `files` are all of `src` but generated ones. */
export const violations = (files: readonly Source[]): string[] => {
  const found: string[] = [];
  const modules = new Set(files.map(({ path }) => moduleOf(path)));
  for (const name of modules) if (!MODULES[name]) found.push(`src/${name}: the module is not in the table of test/architecture/rules.ts`);
  for (const file of files) {
    const { path, text } = file;
    if (!MODULES[moduleOf(path)]) continue;
    for (const entry of importsOf(file)) {
      const reason = judge(path, entry);
      if (reason) found.push(`src/${path}:${entry.line} imports ${entry.specifier || 'an expression'}: ${reason}`);
    }
    const lines = text.trimEnd().split('\n').length;
    const most = /^cmd\/[^/]+$/.test(path) ? MAX_PROGRAM_LINES : MAX_LINES;
    if (lines > most) found.push(`src/${path} has ${lines} lines, at most ${most}: it probably holds two ideas`);
  }
  const byPath = new Map(files.map((file) => [file.path, file]));
  for (const name of modules) if (name !== 'cmd' && MODULES[name]) found.push(...frontDoor(name, byPath.get(`${name}/index.ts`)));
  for (const { path: place } of Object.values(SIDE_DOORS)) {
    if (!place.endsWith('.ts') && files.some(({ path }) => isWithin(path, place))) found.push(...frontDoor(place, byPath.get(`${place}/index.ts`)));
    else if (byPath.has(place)) found.push(...frontDoor(place.replace(/\.ts$/, ''), byPath.get(place)));
  }
  return found;
};
