/** A server to kill: `node crash-server.ts DIR`, where DIR has ca.pem, cert.pem and key.pem. Tells its port on fd 3. */
import { readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { createApiServer } from '#apiserver';
import { silentLogger } from '#lib';

const dir = process.argv[2]!;
const pem = (name: string): string => readFileSync(join(dir, `${name}.pem`), 'utf8');
const api = createApiServer({ database: join(dir, 'killed.db'), tls: { ca: pem('ca'), cert: pem('cert'), key: pem('key') }, log: silentLogger });
writeSync(3, `${JSON.stringify({ port: await api.listen(0) })}\n`);
