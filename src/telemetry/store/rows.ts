import type { Table } from '../ddl.ts';

/** Records to rows and back, by the columns of a table. */

const storedOf = <Field extends string>({ columns }: Table<Field>) =>
  columns.flatMap(({ name, type, field }) => (field ? [{ name, field, integer: /U?Int/.test(type) }] : []));

/** Names of the columns that rows carry. */
export const columnsOf = (table: Table): readonly string[] => storedOf(table).map(({ name }) => name);

/** A record as a JSONEachRow object. Numbers of integer columns are made whole and not negative. */
export const rowOf =
  <Field extends string>(table: Table<Field>) =>
  (record: object): Readonly<Record<string, unknown>> =>
    Object.fromEntries(
      storedOf(table).map(({ name, field, integer }) => {
        const value: unknown = (record as Readonly<Partial<Record<Field, unknown>>>)[field];
        return [name, integer && typeof value === 'number' ? Math.max(0, Math.trunc(value)) : (value ?? null)];
      }),
    );

/** The record of a row; columns that hold NULL are absent fields. */
export const recordOf =
  <Rec extends object>(table: Table<keyof Rec & string>) =>
  (row: Readonly<Record<string, unknown>>): Rec =>
    Object.fromEntries(storedOf(table).flatMap(({ name, field }) => (row[name] === null ? [] : [[field, row[name]]]))) as unknown as Rec;
