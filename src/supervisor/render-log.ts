import { createInterface } from 'node:readline';

const HIDDEN = new Set(['level', 'time', 'component', 'msg', 'err']);

/** One structured log line of a child as a plain line for people: time, level, component, message, fields. */
export const renderLogLine = (line: string, component: string): string => {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(line) as Record<string, unknown>;
    if (entry === null || typeof entry !== 'object' || typeof entry['msg'] !== 'string') throw new Error('not a log entry');
  } catch {
    entry = { msg: line, level: 'info', component };
  }
  const time = typeof entry['time'] === 'string' ? entry['time'].slice(11, 23) : new Date().toISOString().slice(11, 23);
  const fields = Object.entries(entry)
    .filter(([key]) => !HIDDEN.has(key))
    .map(([key, value]) => `${key}=${typeof value === 'string' && /^[^\s"]+$/.test(value) ? value : JSON.stringify(value)}`);
  const error = entry['err'] as { message?: string; stack?: string } | undefined;
  if (error?.message) fields.push(`error=${JSON.stringify(error.message)}`);
  const name = typeof entry['component'] === 'string' ? entry['component'] : component;
  return [
    time,
    String(entry['level'] ?? 'info')
      .toUpperCase()
      .padEnd(5),
    name.padEnd(18),
    String(entry['msg']),
    ...fields,
  ].join(' ');
};

/** Renders every line of a child's stderr to `write`. */
export const renderStream = (stream: NodeJS.ReadableStream, component: string, write: (line: string) => void): void => {
  createInterface({ input: stream }).on('line', (line) => write(renderLogLine(line, component)));
};
