import { Session } from 'chdb';
import type { TestStack } from '../../e2e/harness.ts';
import { formsIn, type Needle } from '../../e2e/support/canary.ts';

/** Places where somebody could read what a stack knows, each as the bytes that are there. */

/** Everything the API answers an admin, but for Secrets themselves: discovery, schemas, every kind as list and as table, runtime resources. */
export const apiAnswers = async (stack: TestStack, agent: string): Promise<ReadonlyMap<string, string>> => {
  const answers = new Map<string, string>();
  const get = async (path: string, accept = 'application/json'): Promise<unknown> => {
    const answer = await stack.api<unknown>('GET', path, undefined, { accept }).catch((error: Error) => ({ error: error.message }));
    answers.set(`${path} (${accept})`, JSON.stringify(answer));
    return answer;
  };
  const table = 'application/json;as=Table;v=v1;g=meta.k8s.io';
  const { groups } = (await get('/apis')) as { groups: { versions: { groupVersion: string }[] }[] };
  const versions = ['/api/v1', ...groups.flatMap(({ versions: all }) => all.map(({ groupVersion }) => `/apis/${groupVersion}`))];
  for (const version of versions) {
    const { resources } = (await get(version)) as { resources: { name: string; namespaced: boolean; verbs: string[] }[] };
    for (const { name, namespaced, verbs } of resources) {
      if (!verbs.includes('list')) continue;
      const paths = [`${version}/${name}`, ...(namespaced ? [`${version}/namespaces/default/${name}`] : [])];
      for (const path of paths) {
        if (name !== 'secrets') await get(path);
        await get(path, table);
      }
    }
  }
  await get(`/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/default/taskagents/${agent}/logs`);
  for (const path of ['/', '/version', '/healthz', '/readyz', '/livez', '/metrics', '/openapi/v2', '/openapi/v3', '/logs', '/debug/pprof/']) await get(path);
  return answers;
};

/** Everything Envoy's admin socket answers, by path. */
export const adminAnswers = async (stack: TestStack, socketPath: string): Promise<ReadonlyMap<string, string>> => {
  const paths = [
    '/config_dump?include_eds', '/config_dump', '/certs', '/clusters?format=json', '/clusters', '/listeners?format=json', '/init_dump', '/stats?format=json',
    '/stats/prometheus', '/stats/recentlookups', '/server_info', '/runtime', '/memory', '/contention', '/hot_restart_version', '/help', '/ready',
    ...['dynamic_active_clusters', 'dynamic_active_secrets', 'dynamic_route_configs', 'bootstrap', 'dynamic_listeners'].map((of) => `/config_dump?resource=${of}`),
  ]; // prettier-ignore
  const answers = new Map<string, string>();
  for (const path of paths) {
    const { text } = await stack.client.request({ url: `http://envoy${path}`, socketPath });
    answers.set(path, text);
  }
  return answers;
};

/** Every column of every row of a stopped store; also of ClickHouse's own logs. */
export const storedRows = async (dir: string): Promise<ReadonlyMap<string, string>> => {
  const session = new Session(dir);
  const select = async (query: string): Promise<string> => (await session.queryBindAsync(query, {}, { format: 'JSONEachRow' })).text();
  try {
    const tables = (
      await select(
        "SELECT database, name FROM system.tables WHERE (lower(database) NOT IN ('system', 'information_schema') OR name LIKE '%log%') AND engine NOT LIKE 'System%'",
      )
    )
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as { database: string; name: string });
    const rows = new Map<string, string>();
    for (const { database, name } of tables) rows.set(`${database}.${name}`, await select(`SELECT * FROM \`${database}\`.\`${name}\``));
    return rows;
  } finally {
    session.close();
  }
};

/** Which of some texts have a value, and in which forms. */
export const formsOf = (texts: ReadonlyMap<string, string>, needles: readonly Needle[]): Readonly<Record<string, readonly string[]>> =>
  Object.fromEntries([...texts].map(([place, text]) => [place, formsIn(Buffer.from(text), needles)] as const).filter(([, forms]) => forms.length > 0));
