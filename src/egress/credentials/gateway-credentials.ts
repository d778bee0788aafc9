import type { CredentialUse, CredentialValue, PolicySet } from '#model';
import { injectedValue } from '../translate/credential.ts';

/** Credentials a policy uses, each once. */
export const usesOf = ({ aiRoutes, credential }: PolicySet): readonly CredentialUse[] => [
  ...new Map([...aiRoutes.flatMap((route) => route.credential ?? []), ...(credential ? [credential] : [])].map((use) => [use.credential, use])).values(),
];

/** What the credentials of one gateway are right now. In memory only. */
export class GatewayCredentials {
  /** Values by name: as they are in the Secret, a token for a service account. */
  values: ReadonlyMap<string, string> = new Map();
  /** Why a value is not there. */
  unavailable: ReadonlyMap<string, string> = new Map();
  /** What Envoy's injectors get by SDS. */
  secrets: ReadonlyMap<string, string> = new Map();

  set(policy: PolicySet, values: readonly CredentialValue[]): void {
    const given = new Map(values.map(({ name, value }) => [name, value]));
    const uses = usesOf(policy).filter(({ credential }) => given.has(credential));
    const minted = uses.filter(({ inject }) => inject.kind === 'GCPServiceAccount');
    this.unavailable = new Map(minted.map(({ credential }) => [credential, 'NotBuilt']));
    const usable = uses.filter((use) => !minted.includes(use));
    this.values = new Map(usable.map(({ credential }) => [credential, given.get(credential)!]));
    this.secrets = new Map(usable.map((use) => [use.credential, injectedValue(use, given.get(use.credential)!)]));
  }
}
