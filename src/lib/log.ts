import pino from 'pino';

/** A structured logger: one JSON line on stderr for each call; `clrk dev` renders them as plain text. */
export interface Logger {
  debug(message: string, fields?: object): void;
  info(message: string, fields?: object): void;
  warn(message: string, fields?: object): void;
  error(message: string, fields?: object): void;
  /** A logger that adds `fields` to every line. */
  with(fields: object): Logger;
}

const wrap = (p: pino.Logger): Logger => ({
  debug: (message, fields) => p.debug(fields ?? {}, message),
  info: (message, fields) => p.info(fields ?? {}, message),
  warn: (message, fields) => p.warn(fields ?? {}, message),
  error: (message, fields) => p.error(fields ?? {}, message),
  with: (fields) => wrap(p.child(fields)),
});

/** The logger of a program. Errors in fields named `err` are written with message and stack. */
export const createLogger = (component: string, level: string = process.env['CLRK_LOG_LEVEL'] ?? 'info'): Logger =>
  wrap(
    pino(
      { level, base: { component }, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } },
      pino.destination({ fd: 2, sync: true }),
    ),
  );

/** A logger that drops everything, for pure code under test. */
export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {}, with: () => silentLogger };
