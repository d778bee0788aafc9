import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import { ClrkError, messageOf } from '#lib';
import type { ClientConfig } from './client.ts';

interface Cluster {
  readonly server?: string;
  readonly 'certificate-authority'?: string;
  readonly 'certificate-authority-data'?: string;
  readonly 'tls-server-name'?: string;
  readonly 'insecure-skip-tls-verify'?: boolean;
}
interface User {
  readonly 'client-certificate'?: string;
  readonly 'client-certificate-data'?: string;
  readonly 'client-key'?: string;
  readonly 'client-key-data'?: string;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly exec?: unknown;
  readonly 'auth-provider'?: unknown;
}
interface Context {
  readonly cluster?: string;
  readonly user?: string;
  readonly namespace?: string;
}
interface Parts {
  readonly context: Context;
  readonly cluster: Cluster;
  readonly user: User;
}
type Named<K extends keyof Parts> = { readonly name: string } & Partial<Pick<Parts, K>>;
interface Kubeconfig {
  readonly 'current-context'?: string;
  readonly clusters?: readonly Named<'cluster'>[];
  readonly users?: readonly Named<'user'>[];
  readonly contexts?: readonly Named<'context'>[];
}

const refuse = (file: string, problem: string): ClrkError => new ClrkError('BadArgument', { what: `${file}: ${problem}`, fix: 'Check the kubeconfig.' });

const read = async (file: string): Promise<string> => {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new ClrkError('FileUnreadable', { path: file, cause: messageOf(error) }, { cause: error });
  }
};

const parseConfig = async (file: string): Promise<Kubeconfig> => {
  try {
    const config = parse(await read(file)) as Kubeconfig | null;
    if (config !== null && typeof config === 'object') return config;
  } catch (error) {
    if (error instanceof ClrkError) throw error;
    throw refuse(file, `not valid YAML: ${messageOf(error)}`);
  }
  throw refuse(file, 'not a kubeconfig');
};

/**
 * What a kubeconfig file says about one context (the current one when none is named): server, trust, credentials, namespace.
 * Data wins over paths, paths are relative to the file. Credential plug-ins are refused.
 * Source: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
 */
export const loadKubeconfig = async (file: string, contextName?: string): Promise<ClientConfig & { readonly namespace?: string }> => {
  const config = await parseConfig(file);
  const find = <K extends keyof Parts>(what: K, list: readonly Named<K>[] | undefined, name: string | undefined): Partial<Parts[K]> => {
    if (name === undefined) throw refuse(file, `no ${what} is chosen`);
    const entry = list?.find((candidate) => candidate.name === name);
    if (!entry) throw refuse(file, `no ${what} is named ${name}`);
    return entry[what] ?? {};
  };
  const context = find('context', config.contexts, contextName ?? config['current-context']);
  const cluster = find('cluster', config.clusters, context.cluster);
  const user: User = context.user === undefined ? {} : find('user', config.users, context.user);
  if (!cluster.server) throw refuse(file, 'the cluster has no server');
  if (cluster['insecure-skip-tls-verify']) throw refuse(file, 'insecure-skip-tls-verify is not supported; name the certificate authority');
  if (user.exec !== undefined || user['auth-provider'] !== undefined) throw refuse(file, 'credential plug-ins (exec, auth-provider) are not supported');

  const pem = async (data: string | undefined, path: string | undefined): Promise<string | undefined> => {
    if (data) return Buffer.from(data, 'base64').toString();
    return path ? read(resolve(dirname(file), path)) : undefined;
  };
  return {
    server: cluster.server.replace(/\/+$/, ''),
    ca: await pem(cluster['certificate-authority-data'], cluster['certificate-authority']),
    cert: await pem(user['client-certificate-data'], user['client-certificate']),
    key: await pem(user['client-key-data'], user['client-key']),
    token: user.token ?? (await pem(undefined, user.tokenFile))?.trim(),
    serverName: cluster['tls-server-name'],
    namespace: context.namespace,
  };
};
