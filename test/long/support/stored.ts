import { Session } from 'chdb';
import { EXCHANGES } from '../../../src/telemetry/ddl.ts';

/** The rows of a stopped store, merged as ClickHouse merges them, with no de-duplication of ours on top. */
export const rawRecords = async (dir: string): Promise<{ decision_id: string; reason: string; time: string }[]> => {
  const session = new Session(dir);
  try {
    const text = (await session.queryBindAsync(`SELECT decision_id, reason, time FROM ${EXCHANGES.name} FINAL`, {}, { format: 'JSONEachRow' })).text();
    return text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as { decision_id: string; reason: string; time: string });
  } finally {
    session.close();
  }
};
