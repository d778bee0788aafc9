/** The tables of the ledger, which share the file of the dispatcher with others; never edit a version that was released. */

const after = (text: string): string => `substr(${text}, instr(${text}, '/') + 1)`;
/** `budget/NAMESPACE/ROUTE/RULE/GATEWAY` without the rule: rules of a route share a counter since version 3. */
const withoutRule = (key: string): string => {
  const fromRule = after(after(after(key)));
  return `CASE WHEN ${key} GLOB 'budget/*/*/[0-9]*/*' THEN substr(${key}, 1, length(${key}) - length(${fromRule})) || ${after(fromRule)} ELSE ${key} END`;
};

export const MIGRATIONS = [
  `CREATE TABLE ledger_days (
     key TEXT NOT NULL,
     day TEXT NOT NULL,
     settled INTEGER NOT NULL DEFAULT 0,
     reserved INTEGER NOT NULL DEFAULT 0,
     PRIMARY KEY (key, day)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE ledger_reservations (
     id TEXT NOT NULL,
     key TEXT NOT NULL,
     day TEXT NOT NULL,
     amount INTEGER NOT NULL,
     deadline INTEGER NOT NULL,
     -- held: counts as reserved; spent: its deadline passed, counts as settled in full; settled: counts as \`used\`.
     state TEXT NOT NULL CHECK (state IN ('held', 'spent', 'settled')),
     used INTEGER,
     PRIMARY KEY (id, key)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX ledger_deadlines ON ledger_reservations (deadline) WHERE state = 'held';`,
  // ceiling: settled + reserved never pass it before it is raised, and it is raised on disk.
  `ALTER TABLE ledger_days ADD COLUMN ceiling INTEGER NOT NULL DEFAULT 0;
   -- boot: of the machine, while a ledger is open; empty after it was closed in order.
   CREATE TABLE ledger_owner (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), boot TEXT NOT NULL) STRICT;`,
  // Counters of tokens and money, by day and by run.
  `CREATE TABLE ledger_counters (
     key TEXT NOT NULL,
     unit TEXT NOT NULL CHECK (unit IN ('tokens', 'microdollars')),
     per TEXT NOT NULL CHECK (per IN ('day', 'execution')),
     -- the UTC day, or the invocation id.
     span TEXT NOT NULL,
     -- of the newest request.
     cap INTEGER NOT NULL,
     settled INTEGER NOT NULL,
     reserved INTEGER NOT NULL,
     ceiling INTEGER NOT NULL,
     -- ms since the epoch of the newest request.
     touched INTEGER NOT NULL,
     PRIMARY KEY (key, unit, per, span)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX ledger_executions ON ledger_counters (touched) WHERE per = 'execution';
   INSERT INTO ledger_counters
     SELECT ${withoutRule('key')}, 'tokens', 'day', day, 0, sum(settled), sum(reserved), sum(ceiling), 0 FROM ledger_days GROUP BY 1, day;
   ALTER TABLE ledger_reservations RENAME TO old_reservations;
   DROP INDEX ledger_deadlines;
   CREATE TABLE ledger_reservations (
     id TEXT NOT NULL,
     key TEXT NOT NULL,
     unit TEXT NOT NULL,
     per TEXT NOT NULL,
     span TEXT NOT NULL,
     -- on which it was made.
     day TEXT NOT NULL,
     amount INTEGER NOT NULL,
     deadline INTEGER NOT NULL,
     state TEXT NOT NULL CHECK (state IN ('held', 'spent', 'settled')),
     -- of a settled one; NULL when a power cut settled it, in full.
     used INTEGER,
     PRIMARY KEY (id, key, unit, per)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX ledger_deadlines ON ledger_reservations (deadline) WHERE state = 'held';
   CREATE INDEX ledger_closed ON ledger_reservations (day) WHERE state <> 'held';
   INSERT INTO ledger_reservations SELECT id, ${withoutRule('key')}, 'tokens', 'day', day, day, amount, deadline, state, used FROM old_reservations;
   DROP TABLE old_reservations;
   DROP TABLE ledger_days;`,
  // A request is one row, and everything that decides is in memory: nothing is looked for in the file, so it has no indexes.
  `ALTER TABLE ledger_reservations RENAME TO old_reservations;
   DROP INDEX ledger_deadlines;
   DROP INDEX ledger_closed;
   DROP INDEX ledger_executions;
   CREATE TABLE ledger_reservations (
     id TEXT NOT NULL PRIMARY KEY,
     -- on which it was made.
     day TEXT NOT NULL,
     deadline INTEGER NOT NULL,
     state TEXT NOT NULL CHECK (state IN ('held', 'spent', 'cut')),
     -- JSON: [{key, unit, per, span, amount}].
     entries TEXT NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE ledger_settled (
     seq INTEGER PRIMARY KEY,
     id TEXT NOT NULL,
     -- JSON: [{key, unit, per, span, amount, used}].
     entries TEXT NOT NULL
   ) STRICT;
   INSERT INTO ledger_reservations
     SELECT id, min(day), min(deadline), CASE state WHEN 'settled' THEN 'cut' ELSE state END,
            json_group_array(json_object('key', key, 'unit', unit, 'per', per, 'span', span, 'amount', amount))
     FROM old_reservations WHERE state <> 'settled' OR used IS NULL GROUP BY id;
   INSERT INTO ledger_settled (id, entries)
     SELECT id, json_group_array(json_object('key', key, 'unit', unit, 'per', per, 'span', span, 'amount', amount, 'used', used))
     FROM old_reservations WHERE state = 'settled' AND used IS NOT NULL GROUP BY id;
   DROP TABLE old_reservations;`,
];
