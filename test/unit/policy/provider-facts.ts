import { providerNamed, type BodyFacts, type JsonObject, type Misread, type RequestTarget } from '#policy';

/** A request of a provider, as the engine would ask about it. */
export const requestTo = (provider: 'anthropic' | 'google' | 'bedrock', host: string) => {
  const found = providerNamed(provider)!;
  const targetOf = (path: string, method = 'POST'): RequestTarget => {
    const at = path.indexOf('?');
    return { method, host, path: at < 0 ? path : path.slice(0, at), query: at < 0 ? '' : path.slice(at + 1) };
  };
  const operationOf = (path: string, method?: string) => found.operation(targetOf(path, method));
  const json = (path: string) => {
    const operation = operationOf(path);
    if (operation?.body !== 'json') throw new Error(`${path} is no operation with a JSON body`);
    return operation;
  };
  return {
    provider: found,
    operationOf,
    facts: (path: string, body: object): BodyFacts | Misread => json(path).read(targetOf(path), body as JsonObject),
    edit: (path: string, body: object, limit?: number): JsonObject => json(path).edit(targetOf(path), body as JsonObject, limit),
  };
};
