import { admittedHosts, AI_PORT, credentialProblem, isForbiddenAlias, routesFor } from '#policy';
import type { AiRoute, CredentialUse, PolicySet } from '#model';
import type { TranslateInput } from './input.ts';

export const routeName = ({ route }: AiRoute): string => `AIProviderRoute/${route.namespace}/${route.name}`;

/** One cluster for each (route, host, credential): no upstream connection is shared between two of them. */
export const clusterName = ({ route, credential }: AiRoute, host: string): string =>
  `ai/${route.namespace}/${route.name}/${host}${credential ? `/${credential.credential}` : ''}`;

/** What a refusal says of itself. */
export interface About {
  readonly route: string;
  readonly policy: string;
  readonly reason: string;
  readonly message: string;
}

/** The address an alias gives a host. */
export const aliasOf = (policy: PolicySet, host: string): string | undefined => policy.hostAliases.find(({ hostnames }) => hostnames.includes(host))?.ip;

/** Routes that claim a host, in the order they are asked; the same order as `policy.decide`. */
export const routesOf = (policy: PolicySet, host: string): readonly AiRoute[] => routesFor(policy, host, AI_PORT);

type Impediment = About & { readonly status: number };

/** Why a credential cannot be injected into requests to a host; undefined when it can. */
export const missingCredential = (use: CredentialUse, host: string, { values, unavailable }: TranslateInput['credentials']): string | undefined =>
  credentialProblem(use, host) ?? (values.has(use.credential) ? undefined : (unavailable.get(use.credential) ?? 'SecretNotFound'));

/** Why an AI route cannot be served at a host at all; undefined when it can. */
export const impediment = (input: TranslateInput, route: AiRoute, host: string): Impediment | undefined => {
  const name = routeName(route);
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

/** Why an AI route is refused at a host for now: its name leads to forbidden addresses only. Its cluster stays, so that where it leads is asked on. */
export const misled = (input: TranslateInput, route: AiRoute, host: string): Impediment | undefined => {
  const message = input.forbidden(input.serviceOf({ host, port: AI_PORT }));
  return message === '' ? undefined : { route: routeName(route), policy: '', reason: 'ForbiddenAddress', message, status: 403 };
};

/** Every (route, host) that has a way out. */
export const servedRoutes = (input: TranslateInput): readonly { readonly route: AiRoute; readonly host: string }[] =>
  admittedHosts(input.policy, input.names).flatMap((host) =>
    routesOf(input.policy, host)
      .filter((route) => !impediment(input, route, host))
      .map((route) => ({ route, host })),
  );
