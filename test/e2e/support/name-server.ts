import { readFile } from 'node:fs/promises';
import { a, serveNames } from '../../unit/egress/dns-server.ts';

/** `node name-server.ts HOST FILE`: a name server at port 53 whose A records are in a JSON file, as it is when they are asked for; a line when it serves. */

const [host, file] = process.argv.slice(2) as [string, string];
const addressesOf = async (name: string): Promise<readonly string[]> =>
  (JSON.parse(await readFile(file, 'utf8')) as Readonly<Record<string, readonly string[]>>)[name] ?? [];
await serveNames(async (name, type) => ({ answers: type === 'A' ? (await addressesOf(name)).map((address) => a(name, address, 1)) : [] }), { host, port: 53 });
console.log('ready');
