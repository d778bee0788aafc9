import { admittedHosts, credentialProblem, isForbiddenAlias, isMcpRoute, judgedPorts, nameOfRoute, routesFor, type JudgingRoute } from '#policy';
import type { CredentialUse, PolicySet } from '#model';
import type { TranslateInput } from './input.ts';

/** Where requests that a route judges go. */
export interface Served {
  readonly route: JudgingRoute;
  readonly host: string;
  readonly port: number;
}

/** One cluster for each (route, host, port, credential): no upstream connection is shared between two of them. */
export const clusterName = ({ route: judging, host, port }: Served): string => {
  const { route, credential } = judging;
  const kind = isMcpRoute(judging) ? 'mcp' : 'ai';
  return `${kind}/${route.namespace}/${route.name}/${host}${kind === 'mcp' ? `:${port}` : ''}${credential ? `/${credential.credential}` : ''}`;
};

/** What a refusal says of itself. */
export interface About {
  readonly route: string;
  readonly policy: string;
  readonly reason: string;
  readonly message: string;
}

/** The address an alias gives a host. */
export const aliasOf = (policy: PolicySet, host: string): string | undefined => policy.hostAliases.find(({ hostnames }) => hostnames.includes(host))?.ip;

/** What serves requests to a host, in the order routes are asked; the same order as `policy.decide`. */
export const servedAt = (policy: PolicySet, host: string): readonly Served[] =>
  judgedPorts(policy, host).flatMap((port) => routesFor(policy, host, port).map((route) => ({ route, host, port })));

type Impediment = About & { readonly status: number };

/** Why a credential cannot be injected into requests to a host; undefined when it can. */
export const missingCredential = (use: CredentialUse, host: string, { values, unavailable }: TranslateInput['credentials']): string | undefined =>
  credentialProblem(use, host) ?? (values.has(use.credential) ? undefined : (unavailable.get(use.credential) ?? 'SecretNotFound'));

/** Why a route cannot be served at a host at all; undefined when it can. */
export const impediment = (input: TranslateInput, { route, host }: Served): Impediment | undefined => {
  const name = nameOfRoute(route);
  const policy = route.credential ? `CredentialInjectionPolicy/${route.credential.policy}` : '';
  const missing = route.credential && missingCredential(route.credential, host, input.credentials);
  if (missing) {
    return { route: name, policy, reason: missing, message: `${name} needs a credential that cannot be injected (${missing}).`, status: 503 };
  }
  const alias = aliasOf(input.policy, host);
  if (alias !== undefined && (isForbiddenAlias(alias) || input.ownAddresses.includes(alias))) {
    return { route: name, policy, reason: 'ForbiddenAddress', message: `The host alias of ${host} names an address a gateway never dials.`, status: 403 };
  }
  return undefined;
};

/** Why a route is refused at a host for now: its name leads to forbidden addresses only. Its cluster stays, so that where it leads is asked on. */
export const misled = (input: TranslateInput, { route, host, port }: Served): Impediment | undefined => {
  const message = input.forbidden(input.serviceOf({ host, port }));
  return message === '' ? undefined : { route: nameOfRoute(route), policy: '', reason: 'ForbiddenAddress', message, status: 403 };
};

/** All of it that has a way out. */
export const served = (input: TranslateInput): readonly Served[] =>
  admittedHosts(input.policy, input.names).flatMap((host) => servedAt(input.policy, host).filter((one) => !impediment(input, one)));
