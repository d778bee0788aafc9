import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run, spawnChild } from '#lib';
import { createAuthority, loadSigner } from '#lib/x509';
import { ensureMitmproxy, ensureMockttp, ensureSquid, squidEnv } from '../tools.ts';
import { proxyOf, startProgram, withHosts, type Proxy, type ProxyOptions } from './proxy.ts';

/** Proxies other than ours, each set up the way its documentation says and with what costs it most switched off. */

export type { Proxy, ProxyOptions } from './proxy.ts';

const valid = () => ({ notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 86_400_000) });
const newAuthority = () => createAuthority({ subject: 'CN=clrk bench', ca: { pathLength: 0 }, ...valid() });

/** For one name, whose certificate it has from the start. */
export const startNodeProxy = async (options: ProxyOptions, host: string): Promise<Proxy> => {
  const leaf = await (await loadSigner(await newAuthority())).issue({ subject: `CN=${host}`, usage: 'server', dns: [host], ...valid() });
  return startProgram('node-proxy.ts', options, { host, key: leaf.keyPem, cert: leaf.certPem });
};

export const startMockttp = async (options: ProxyOptions): Promise<Proxy> => startProgram('mockttp-proxy.ts', options, { module: await ensureMockttp() });

/** Transparent mode; bodies of a megabyte and more are streamed, where by default it collects them. */
export const startMitmproxy = async (options: ProxyOptions): Promise<Proxy> => {
  const { netns, dir, port, upstreamCaFile, authorization } = options;
  const settings = {
    confdir: dir,
    ssl_verify_upstream_trusted_ca: upstreamCaFile,
    modify_headers: `/~q/authorization/${authorization}`,
    stream_large_bodies: '1m',
  };
  const argv = [await ensureMitmproxy(), '--quiet', '--mode', `transparent@0.0.0.0:${port}`];
  for (const [name, value] of Object.entries(settings)) argv.push('--set', `${name}=${value}`);
  const [command, args] = await withHosts(options, argv);
  return proxyOf(spawnChild(command, args, { netns, stdio: ['ignore', 'inherit', 'inherit'] }), options);
};

const NOBODY = 65_534;

/** ssl-bump: it looks at the name of the client hello, then ends every connection with a certificate made for it. */
const squidConfig = (root: string, { dir, port, upstreamCaFile, authorization }: ProxyOptions): string => `
visible_hostname bench
http_port 127.0.0.1:3128
https_port ${port} intercept ssl-bump tls-cert=${dir}/authority.pem generate-host-certificates=on dynamic_cert_mem_cache_size=64MB
sslcrtd_program ${root}/usr/lib/squid/security_file_certgen -s ${dir}/certificates -M 64MB
sslcrtd_children 5 startup=5 idle=1
acl hello at_step SslBump1
ssl_bump peek hello
ssl_bump bump all
tls_outgoing_options cafile=${upstreamCaFile} default-ca=off
http_access allow all
request_header_access Authorization deny all
request_header_add Authorization "${authorization}" all
hosts_file ${dir}/hosts
ipcache_size 8192
cache deny all
cache_mem 8 MB
access_log none
cache_log ${dir}/cache.log
cache_store_log none
pid_filename none
pinger_enable off
coredump_dir ${dir}
max_filedescriptors 16384
mime_table ${root}/usr/share/squid/mime.conf
icon_directory ${root}/usr/share/squid/icons
error_directory ${root}/usr/share/squid-langpack/en
unlinkd_program /bin/true
shutdown_lifetime 0 seconds
`;

export const startSquid = async (options: ProxyOptions): Promise<Proxy> => {
  const { dir, netns } = options;
  // It gives up root, and the tools may be in a directory only root may enter.
  const root = join(dir, 'squid');
  await cp(await ensureSquid(), root, { recursive: true, verbatimSymlinks: true });
  const authority = await newAuthority();
  await withHosts(options, []);
  await writeFile(join(dir, 'authority.pem'), authority.certPem + authority.keyPem);
  await writeFile(join(dir, 'squid.conf'), squidConfig(root, options));
  const env = squidEnv(root);
  await run(join(root, 'usr/lib/squid/security_file_certgen'), ['-c', '-s', join(dir, 'certificates'), '-M', '64MB'], { env });
  await run('chown', ['-R', `${NOBODY}:${NOBODY}`, dir]);
  const argv = ['-N', '-f', join(dir, 'squid.conf')];
  const as = { uid: NOBODY, gid: NOBODY };
  return proxyOf(spawnChild(join(root, 'usr/sbin/squid'), argv, { netns, env, as, stdio: ['ignore', 'inherit', 'inherit'] }), options);
};
