/** `node name-server.ts HOST PORT ADDRESS`: a name server for which every name is at that one address; a line when it serves. */
import { a, serveNames } from '../unit/egress/dns-server.ts';

const [host, port, address] = process.argv.slice(2) as [string, string, string];
await serveNames((name, type) => ({ answers: type === 'A' ? [a(name, address)] : [] }), { host, port: Number(port) });
console.log('ready');
