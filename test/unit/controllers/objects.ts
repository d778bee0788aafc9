import { apiVersionOf, findCondition, type Condition, type Kind, type KubeObject } from '#api';
import type { Client, Writable } from '#kube';

/** The first version of an object that satisfies `test`, from a watch: no polling. */
export const eventually = async <T extends KubeObject>(
  client: Client,
  kind: Kind<T>,
  name: string,
  test: (object: T) => unknown,
  namespace = 'default',
): Promise<T> => {
  const { items, metadata } = await client.list(kind, { namespace });
  let last = items.find((item) => item.metadata.name === name);
  if (last && test(last)) return last;
  const signal = AbortSignal.timeout(8_000);
  try {
    for await (const { type, object } of client.watch(kind, { namespace, signal, resourceVersion: metadata.resourceVersion! })) {
      if (type === 'BOOKMARK' || object.metadata.name !== name) continue;
      last = object;
      if (test(object)) return object;
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  throw new Error(`${apiVersionOf(kind)} ${name} did not get there; last seen: ${JSON.stringify(last, null, 1)}`);
};

/** `Ready=False/ImageNotFound` of an object with conditions. */
export const conditionOf = (object: KubeObject & { readonly status?: { readonly conditions?: readonly Condition[] } }, type: string): string => {
  const condition = findCondition(object.status?.conditions, type);
  return condition ? `${condition.status}/${condition.reason}` : 'none';
};

export const agent = (name: string, spec: object = {}): Writable => ({
  metadata: { namespace: 'default', name },
  spec: { workerPoolRef: 'default', template: { spec: { image: 'demo:1' } }, ...spec },
});
export const gateway = (name: string, spec: object = {}): Writable => ({
  metadata: { namespace: 'default', name },
  spec: { listeners: [{ name: 'tls', protocol: 'TLS', tls: { mode: 'Terminate' } }], ...spec },
});
export const route = (name: string, parent: string, spec: object = {}): Writable => ({
  metadata: { namespace: 'default', name },
  spec: { parentRefs: [{ kind: 'EgressGateway', name: parent }], rules: [{ matches: [{ provider: 'openai' }] }], ...spec },
});
export const policy = (name: string, target: string, secret: string): Writable => ({
  metadata: { namespace: 'default', name },
  spec: { parentRefs: [{ kind: 'AIProviderRoute', name: target }], secretRef: { name: secret }, target: 'Header', headerName: 'Authorization' },
});
export const secret = (name: string, data: Record<string, string>): Writable => ({ metadata: { namespace: 'default', name }, stringData: data });
