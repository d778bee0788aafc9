import { Cron } from 'croner';
import { parseDuration } from './duration.ts';
import { messageOf } from './errors.ts';

/** When something is due again and again. */
export interface Schedule {
  /** The first time after `after`, both in milliseconds since the epoch; undefined when there is none. */
  next(after: number): number | undefined;
}

const FIVE_FIELDS = /^\S+(?:\s+\S+){4}$/;
const DESCRIPTORS: Readonly<Record<string, string>> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
};

/** The shortest interval of `@every`. */
const SHORTEST_MS = 1_000;

/**
 * A cron expression of five fields, a descriptor (`@hourly`), or `@every 5m` (counted from the epoch, so that a restart does not
 * shift it). Fields are read in `timeZone`, an IANA name; UTC by default. A text that is none gives the reason instead.
 */
export const parseSchedule = (text: string, timeZone = 'UTC'): Schedule | { readonly invalid: string } => {
  const every = /^@every\s+(\S+)$/.exec(text);
  if (every) {
    const ms = parseDuration(every[1]!) ?? 0;
    if (ms < SHORTEST_MS) return { invalid: '@every needs a duration of at least 1s' };
    return { next: (after) => (Math.floor(after / ms) + 1) * ms };
  }
  const expression = DESCRIPTORS[text.toLowerCase()] ?? text;
  if (!FIVE_FIELDS.test(expression))
    return { invalid: 'it needs five fields (minute, hour, day of month, month, day of week), @hourly and the like, or @every' };
  try {
    const cron = new Cron(expression, { timezone: timeZone, paused: true, legacyMode: true });
    cron.nextRun(); // a time zone nobody knows is noticed here only
    return { next: (after) => cron.nextRun(new Date(after))?.getTime() };
  } catch (error) {
    return { invalid: messageOf(error) };
  }
};
