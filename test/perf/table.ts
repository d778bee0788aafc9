import { run } from '#lib';

/** What the benches print: absolute columns, and ratios against the first row of the same run. */

/** The git revision that was measured; `-dirty` with uncommitted changes. */
export const revision = (): Promise<string> =>
  run('git', ['describe', '--always', '--dirty'], { cwd: import.meta.dirname }).then(
    ({ stdout }) => stdout.trim(),
    () => 'unknown revision',
  );

export interface Column<Row> {
  /** With its unit. */
  readonly title: string;
  /** undefined: not measured, or without meaning for this row. */
  readonly value: (row: Row, base: Row) => number | undefined;
  /** Digits after the point; 2 by default. */
  readonly digits?: number;
}

/** A ratio to the base row, as a column. */
export const ratio = <Row>(title: string, value: (row: Row) => number | undefined): Column<Row> => ({
  title,
  value: (row, base) => {
    const [of, to] = [value(row), value(base)];
    return of === undefined || !to ? undefined : of / to;
  },
});

/** Prints rows below a title; `base` is what ratios refer to, the first row by default. */
export const printTable = <Row extends { readonly name: string }>(
  title: string,
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  base = rows[0]!,
): void => {
  const names = Math.max(...rows.map(({ name }) => name.length)) + 2;
  const widths = columns.map(({ title: head }) => Math.max(head.length, 8) + 2);
  const line = (name: string, cells: readonly string[]): string => name.padEnd(names) + cells.map((cell, i) => cell.padStart(widths[i]!)).join('');
  const cell = (row: Row, { value, digits = 2 }: Column<Row>): string => value(row, base)?.toFixed(digits) ?? '-';
  console.log(
    [
      title,
      line(
        '',
        columns.map(({ title: head }) => head),
      ),
      ...rows.map((row) =>
        line(
          row.name,
          columns.map((column) => cell(row, column)),
        ),
      ),
    ].join('\n'),
  );
};
