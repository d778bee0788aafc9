/**
 * Asks for a name over and over on a connection that is kept alive, made anew when it is closed, and tells when the status
 * changes: `node change-probe.ts HOST ADDRESS PATH` prints `{"status", "at"}` a line, `at` in ms of the machine's monotonic clock.
 */
import { Agent, request } from 'node:https';

const [host, address, path] = process.argv.slice(2) as [string, string, string];
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

/** 0: the connection was closed, so the next one has the answer. */
const ask = (): Promise<number> =>
  new Promise((resolve) => {
    const asked = request({ agent, host: address, servername: host, path, headers: { host }, rejectUnauthorized: false });
    asked.once('response', (response) => {
      response.once('end', () => resolve(response.statusCode!)).once('error', () => resolve(0));
      response.resume();
    });
    asked.once('error', () => resolve(0));
    asked.end();
  });

for (let last = 0; ;) {
  const status = await ask();
  if (status === 0 || status === last) continue;
  last = status;
  console.log(JSON.stringify({ status, at: Number(process.hrtime.bigint()) / 1e6 }));
}
