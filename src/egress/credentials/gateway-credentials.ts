import type { CredentialUse, CredentialValue, PolicySet } from '#model';
import { injectedValue } from '../translate/credential.ts';
import { ServiceAccountTokens, type TokensOptions } from './service-account-tokens.ts';

/** Credentials a policy uses, each once. */
const usesOf = ({ mcpRoutes, aiRoutes, credential }: PolicySet): readonly CredentialUse[] => [
  ...new Map(
    [...[...mcpRoutes, ...aiRoutes].flatMap((route) => route.credential ?? []), ...(credential ? [credential] : [])].map((use) => [use.credential, use]),
  ).values(),
];

/** What the credentials of one gateway are right now. In memory only. */
export class GatewayCredentials implements Disposable {
  readonly #tokens: ServiceAccountTokens;
  #uses: readonly CredentialUse[] = [];
  #given: ReadonlyMap<string, string> = new Map();

  constructor(options: TokensOptions) {
    this.#tokens = new ServiceAccountTokens(options);
  }

  set(policy: PolicySet, values: readonly CredentialValue[]): void {
    this.#given = new Map(values.map(({ name, value }) => [name, value]));
    this.#uses = usesOf(policy).filter(({ credential }) => this.#given.has(credential));
    const accounts = this.#uses.filter(({ inject }) => inject.kind === 'GCPServiceAccount');
    this.#tokens.want(new Map(accounts.map(({ credential }) => [credential, this.#given.get(credential)!])));
  }

  #of({ credential, inject }: CredentialUse): { readonly value: string } | { readonly reason: string } {
    if (inject.kind !== 'GCPServiceAccount') return { value: this.#given.get(credential)! };
    const minted = this.#tokens.of(credential);
    return 'token' in minted ? { value: `Bearer ${minted.token}` } : minted;
  }

  /** By name: as it is in the Secret, or a token for a service account. */
  get values(): ReadonlyMap<string, string> {
    const values = new Map<string, string>();
    for (const use of this.#uses) {
      const found = this.#of(use);
      if ('value' in found) values.set(use.credential, found.value);
    }
    return values;
  }

  /** Why a value is not there. */
  get unavailable(): ReadonlyMap<string, string> {
    const reasons = new Map<string, string>();
    for (const use of this.#uses) {
      const found = this.#of(use);
      if ('reason' in found) reasons.set(use.credential, found.reason);
    }
    return reasons;
  }

  /** What Envoy's injectors get by SDS. */
  get secrets(): ReadonlyMap<string, string> {
    const { values } = this;
    return new Map(this.#uses.flatMap((use) => (values.has(use.credential) ? [[use.credential, injectedValue(use, values.get(use.credential)!)]] : [])));
  }

  [Symbol.dispose](): void {
    this.#tokens[Symbol.dispose]();
  }
}
