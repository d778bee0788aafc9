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

/** `routes`: those whose state at a gateway of the namespace is another one now, or came or went, by `routeKey`. */
export type PlanListener = (namespace: string, routes: readonly string[]) => void;

interface RouteStates {
  readonly route: string;
  readonly text: string;
}

/** By gateway and route. */
const statesOf = ({ gateways }: NamespacePlan): ReadonlyMap<string, RouteStates> =>
  new Map(
    [...gateways].flatMap(([gateway, { routes }]) =>
      [...routes].map(([route, parents]): [string, RouteStates] => [`${gateway} ${route}`, { route, text: JSON.stringify(parents) }]),
    ),
  );

/** The newest plan of each namespace: written by compilation, read by what tells about it. */
export class Plans implements Roots {
  readonly #plans = new Map<string, NamespacePlan>();
  /** By namespace: the states of routes at its gateways, as text. */
  readonly #states = new Map<string, ReadonlyMap<string, RouteStates>>();
  readonly #listeners = new Set<PlanListener>();

  set(namespace: string, plan: NamespacePlan): void {
    this.#plans.set(namespace, plan);
    // What was published with it goes out first: to tell about it may take longer than all that was before.
    setImmediate(() => this.#tell(namespace, plan));
  }

  #tell(namespace: string, plan: NamespacePlan): void {
    const before = this.#states.get(namespace) ?? new Map<string, RouteStates>();
    const states = statesOf(plan);
    this.#states.set(namespace, states);
    const changed = [...new Set([...before.keys(), ...states.keys()])].filter((at) => before.get(at)?.text !== states.get(at)?.text);
    const routes = [...new Set(changed.map((at) => (states.get(at) ?? before.get(at)!).route))];
    for (const listener of this.#listeners) listener(namespace, routes);
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

  /** Hears of each plan, in order, when it is there already. */
  onChange(listener: PlanListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
