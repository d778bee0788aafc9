/**
 * The tiers of `./clrk test`. Runs every stage, shows what failed, and ends with `N passed, N failed` alone on a line.
 * `test` is what a change is likely to break; `test all` adds the long ones; `test bypass` is the egress-bypass suite alone
 * (docs/bypass.md; --json FILE, --only PATTERN).
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

interface Tally {
  passed: number;
  failed: number;
}

const root = join(import.meta.dirname, '..');
const bin = join(root, 'node_modules', '.bin');
const env: NodeJS.ProcessEnv = { ...process.env, PATH: `${bin}:${process.env['PATH']}`, FORCE_COLOR: '0' };

/** Runs a command, its output shown only when it fails (or always, for the long ones). */
const command = (argv: readonly string[], live: boolean): Promise<{ code: number; output: string }> =>
  new Promise((resolve) => {
    const child = spawn(argv[0]!, argv.slice(1), { cwd: root, env, stdio: ['ignore', live ? 'inherit' : 'pipe', live ? 'inherit' : 'pipe'] });
    let output = '';
    child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.on('error', (error) => resolve({ code: 127, output: error.message }));
    child.on('close', (code) => resolve({ code: code ?? 1, output }));
  });

/** A check is one test: it passes when the command exits 0. */
const check = async (name: string, argv: readonly string[]): Promise<Tally> => {
  const begun = performance.now();
  const { code, output } = await command(argv, false);
  console.log(`${code === 0 ? 'ok    ' : 'FAILED'} ${name} (${((performance.now() - begun) / 1000).toFixed(1)} s)`);
  if (code !== 0) console.log(output);
  return code === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
};

/** A vitest run; counted by its JSON report. A run that breaks before it reports counts as one failure. */
const vitest = async (name: string, config: string): Promise<Tally> => {
  console.log(`---- ${name}`);
  const dir = await mkdtemp(join(tmpdir(), 'clrk-test-'));
  try {
    const report = join(dir, 'report.json');
    const { code } = await command(['vitest', 'run', '--config', config, '--reporter=default', '--reporter=json', `--outputFile.json=${report}`], true);
    const json = JSON.parse(await readFile(report, 'utf8').catch(() => '{}')) as Record<string, number | undefined> & {
      testResults?: { status: string; assertionResults: unknown[] }[];
    };
    const passed = json['numPassedTests'] ?? 0;
    // A skipped test is a failed one: whatever it needs has to be installed.
    const skipped = (json['numPendingTests'] ?? 0) + (json['numTodoTests'] ?? 0);
    const brokenFiles = (json.testResults ?? []).filter((file) => file.status === 'failed' && file.assertionResults.length === 0).length;
    const failed = (json['numFailedTests'] ?? 0) + skipped + brokenFiles;
    return { passed, failed: failed === 0 && code !== 0 ? 1 : failed };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
};

const { values: wanted, positionals } = parseArgs({ allowPositionals: true, options: { json: { type: 'string' }, only: { type: 'string' } } });
const tier = positionals[0] ?? 'first';
if (tier !== 'first' && tier !== 'all' && tier !== 'bypass') {
  console.error(`clrk test: there is no tier "${tier}". Use \`clrk test\`, \`clrk test all\` or \`clrk test bypass\`.`);
  process.exit(2);
}
if (wanted.json) env['CLRK_BYPASS_JSON'] = resolve(wanted.json);
if (wanted.only) env['CLRK_BYPASS_ONLY'] = wanted.only;
const bypass = () => vitest('egress bypass', 'vitest.bypass.config.ts');
const first: readonly (() => Promise<Tally>)[] = [
  () => check('types', ['tsc', '--noEmit']),
  () => check('lint', ['oxlint', '--type-aware']),
  () => check('format', ['oxfmt', '--check']),
  () => check('derived files', ['node', 'tools/gen.ts', '--check']),
  () => vitest('unit, architecture, golden, conformance', 'vitest.config.ts'),
  () => vitest('end to end', 'vitest.e2e.config.ts'),
];
const stages = { first, all: [...first, () => vitest('long', 'vitest.long.config.ts'), bypass], bypass: [bypass] }[tier];

const begun = performance.now();
const total: Tally = { passed: 0, failed: 0 };
for (const stage of stages) {
  const { passed, failed } = await stage();
  total.passed += passed;
  total.failed += failed;
}
console.log(`${((performance.now() - begun) / 1000).toFixed(0)} s`);
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
