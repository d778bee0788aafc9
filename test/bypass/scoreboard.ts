import { CLASSES } from './case.ts';
import type { CaseResult } from './judge.ts';

/** What came of it, by class. A case that was not tried is not in the table, so nothing is ever skipped. */
export const scoreboard = (results: readonly CaseResult[]): string => {
  const count = (some: readonly CaseResult[], name: string): readonly string[] => [
    name,
    ...[
      some.length,
      some.filter(({ blocked }) => blocked).length,
      some.filter(({ blocked }) => !blocked).length,
      some.filter(({ twin }) => twin).length,
      0,
    ].map(String),
    String(some.filter(({ problems }) => problems.length > 0).length),
  ];
  const rows = [
    ['class', 'cases', 'blocked', 'leaked', 'twins through', 'skipped', 'failed'],
    ...CLASSES.map((name) =>
      count(
        results.filter((result) => result.class === name),
        name,
      ),
    ).filter(([, cases]) => cases !== '0'),
    count(results, 'all'),
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) => row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!))).join('  ')).join('\n');
};
