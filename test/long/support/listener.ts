/**
 * A canary on the other side: `node listener.ts PORT FILE` answers every TCP connection with `canary` and writes down where it came
 * from. Nothing but what leaves the gateway can reach it.
 */
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:net';

const [port, file] = process.argv.slice(2);
const server = createServer((socket) => {
  appendFileSync(file!, `${JSON.stringify({ from: socket.remoteAddress })}\n`);
  socket.on('error', () => {});
  socket.end('canary');
});
server.listen(Number(port), '0.0.0.0', () => console.log('ready'));
