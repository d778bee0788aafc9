import type { EgressGateway } from '#api';
import type { GatewayRoot, ObjectKey } from '#model';
import type { CompiledGateway, CompileProblem, PolicyJudgement, RouteParent } from '#policy';
import type { Roots } from '../worker-desired.ts';
import type { GatewayAuthority } from './authority.ts';
import type { ListenerAuthority } from './ca-ref.ts';

/** One gateway as its workers should serve it. */
export interface GatewayPlan {
  readonly gateway: EgressGateway;
  readonly compiled: CompiledGateway;
  /** State of each route (by `routeKey`) at the references that name this gateway. */
  readonly routes: ReadonlyMap<string, readonly RouteParent[]>;
  /** What signs for it. Absent when there is no usable authority: then it is served nowhere, and `problem` says why. */
  readonly certificate?: Omit<GatewayAuthority, 'intermediate'>;
  readonly problem?: CompileProblem;
  /** By listener name: what is said of the authority it names. */
  readonly listenerAuthorities: ReadonlyMap<string, ListenerAuthority>;
}

export const routeKey = (kind: string, { namespace, name }: ObjectKey): string => `${kind}/${namespace}/${name}`;

export interface NamespacePlan {
  /** By gateway name. */
  readonly gateways: ReadonlyMap<string, GatewayPlan>;
  /** By name of the CredentialInjectionPolicy. */
  readonly policies: ReadonlyMap<string, PolicyJudgement>;
  /** By name of the EgressDenyPolicy. */
  readonly denyPolicies: ReadonlyMap<string, PolicyJudgement>;
}

/** The newest plan of each namespace: written by compilation, read by what tells about it. */
export class Plans implements Roots {
  readonly #plans = new Map<string, NamespacePlan>();
  readonly #listeners = new Set<(namespace: string) => void>();

  set(namespace: string, plan: NamespacePlan): void {
    this.#plans.set(namespace, plan);
    for (const listener of this.#listeners) listener(namespace);
  }

  of(namespace: string): NamespacePlan | undefined {
    return this.#plans.get(namespace);
  }

  namespaces(): string[] {
    return [...this.#plans.keys()];
  }

  get(namespace: string): readonly GatewayRoot[] | undefined {
    const plan = this.#plans.get(namespace);
    return (
      plan && [...plan.gateways].flatMap(([name, { certificate }]) => (certificate ? [{ gateway: `${namespace}/${name}`, rootPems: certificate.trusted }] : []))
    );
  }

  onChange(listener: (namespace: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
