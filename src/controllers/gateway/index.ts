import { ROTATE, type EgressGateway, type KubeObject } from '#api';
import { createController, existenceChanged, labelsChanged, signals, specChanged, splitKey, watches, type Informer } from '#kube';
import { canonicalJson, messageOf, watchClock } from '#lib';
import type { DesiredGateway, WorkerReport } from '#model';
import { compileGateway, judgeDenyPolicies, judgePolicies, type AnyRoute } from '#policy';
import { gatewayNamespacesOf } from '../caches.ts';
import type { Context } from '../context.ts';
import { Authorities, type GatewayAuthority } from './authority.ts';
import { caReferenceOf, withSecretProblem } from './ca-ref.ts';
import { AuthorityUnusable } from './ca-secret.ts';
import { compileInput, secretsIn } from './compile-input.ts';
import { existsIn } from './exists.ts';
import { routeKey, type GatewayPlan, type Plans } from './plans.ts';
import { TrustWatch } from './trust-watch.ts';

/** How often intermediates are looked at; they are renewed at half of their 7 days. */
const RENEWAL_MS = 3_600_000;
/** How often it is seen whether the clock was set, and intermediates with it became void, and how far changes of roots are. */
const LOOK_EVERY_MS = 1_000;

const namespaceOf = ({ metadata }: KubeObject): string[] => [metadata.namespace ?? ''];
const namespaceOfPool = (report: WorkerReport): string => splitKey(report.pool).namespace;

const rotateAsked = (current: KubeObject | undefined, previous: KubeObject | undefined): boolean =>
  current?.metadata.annotations?.[ROTATE] !== previous?.metadata.annotations?.[ROTATE];

interface SignedPlan extends GatewayPlan {
  readonly authority?: GatewayAuthority;
  /** What may pass when it is tried again; the other gateways do not wait for it. */
  readonly error?: unknown;
}

/**
 * EgressGateways with their routes, policies and Secrets -> what the egress of each worker serves, always whole. Reconciles
 * a namespace of gateways at a time: every worker of its pools serves all of them. Routes may come from other namespaces.
 */
export const gatewayController = (context: Context, plans: Plans): AsyncDisposable => {
  const { gateways, routes, policies, denyPolicies, mcpRoutes, l4Routes, pools, secrets } = context.caches;
  const { agents, daemons, loggingPolicies, namespaces, prices, rateLimits } = context.caches;
  const watch = new TrustWatch(context);
  const authorities = new Authorities({ ...context, watch });
  const published = new Map<string, string>();
  /** Namespace of each worker, kept when its stream ends: its egress goes on and is told of changes. */
  const homes = new Map<string, string>();

  const secret = secretsIn(context.caches);
  const exists = existsIn(context.caches);

  /** Namespaces whose gateways an object may matter to: its own, and those that routes beside it name. */
  const reach = (namespace: string): string[] => {
    const abroad = [routes, mcpRoutes, l4Routes].flatMap((cache) => cache.index('abroad', namespace).flatMap(gatewayNamespacesOf));
    return [...new Set([namespace, ...abroad])];
  };
  const reachOf = ({ metadata }: KubeObject): string[] => reach(metadata.namespace ?? '');
  const reachOfRoute = (route: AnyRoute): string[] => [...new Set([...namespaceOf(route), ...gatewayNamespacesOf(route)])];

  const certify = async (gateway: EgressGateway, namespace: string): Promise<Omit<SignedPlan, 'gateway' | 'compiled' | 'routes'>> => {
    const reference = caReferenceOf(gateway);
    try {
      const authority = await authorities.of(gateway, (name) => secrets.get(namespace, name));
      const { problem, error } = authority;
      const listenerAuthorities = problem ? withSecretProblem(reference, gateway, problem) : reference.listeners;
      return { authority, certificate: authority, listenerAuthorities, ...(problem && { problem }), ...(error !== undefined && { error }) };
    } catch (error) {
      if (!(error instanceof AuthorityUnusable))
        return { problem: { reason: 'CertificateInvalid', message: messageOf(error) }, error, listenerAuthorities: reference.listeners };
      const { reason, message } = error;
      const listenerAuthorities = reference.problem ? reference.listeners : withSecretProblem(reference, gateway, error);
      return { problem: { reason, message }, listenerAuthorities };
    }
  };

  const plan = async (gateway: EgressGateway, namespace: string): Promise<SignedPlan> => {
    const compiled = compileGateway(compileInput(context.caches, gateway));
    const states = new Map(compiled.routes.map(({ kind, key, parents }) => [routeKey(kind, key), parents]));
    return { gateway, compiled, routes: states, ...(await certify(gateway, namespace)) };
  };

  const publish = async (worker: string, planned: readonly SignedPlan[]): Promise<void> => {
    const served = planned.map(async ({ gateway, compiled, authority }): Promise<DesiredGateway | undefined> => {
      if (!authority) return undefined;
      const { certPem, keyPem } = await authority.intermediate(worker);
      return {
        gateway: `${gateway.metadata.namespace}/${gateway.metadata.name}`,
        policySet: JSON.stringify(compiled.policySet),
        rootPem: authority.rootPem,
        intermediatePem: certPem,
        intermediateKeyPem: keyPem,
        credentials: compiled.credentials,
      };
    });
    const desired = { gateways: (await Promise.all(served)).filter((gateway) => gateway !== undefined) };
    const content = canonicalJson(desired);
    if (published.get(worker) === content) return;
    published.set(worker, content);
    context.desired.setEgressDesired(worker, desired);
  };

  return createController({
    name: 'gateway',
    log: context.log,
    sources: [
      watches(gateways, namespaceOf, (current, previous) => specChanged(current, previous) || rotateAsked(current, previous)),
      ...[routes, mcpRoutes, l4Routes].map((cache) => watches(cache as Informer, (route) => reachOfRoute(route as AnyRoute), specChanged)),
      watches(policies, reachOf, specChanged),
      watches(denyPolicies, reachOf, specChanged),
      watches(pools, namespaceOf, specChanged),
      watches(secrets, reachOf),
      watches(prices, reachOf),
      // What is referred to: of these it matters whether they are there, and how they are labelled.
      ...[rateLimits, loggingPolicies].map((cache) => watches(cache as Informer, reachOf, existenceChanged)),
      ...[agents, daemons].map((cache) => watches(cache as Informer, namespaceOf, labelsChanged)),
      watches(namespaces, ({ metadata }) => reach(metadata.name), labelsChanged),
      signals((enqueue) => {
        const stop = context.workers.onChange((worker, report) => {
          if (!report || homes.get(worker) === namespaceOfPool(report)) return;
          homes.set(worker, namespaceOfPool(report));
          enqueue(namespaceOfPool(report));
        });
        for (const { worker, report } of context.workers.all()) {
          homes.set(worker, namespaceOfPool(report));
          enqueue(namespaceOfPool(report));
        }
        return stop;
      }),
      signals((enqueue) => {
        const timer = setInterval(() => plans.namespaces().forEach(enqueue), RENEWAL_MS).unref();
        const clockSet = watchClock(context.clock);
        const looking = setInterval(() => (clockSet() === 0 ? authorities.moved() : plans.namespaces()).forEach(enqueue), LOOK_EVERY_MS).unref();
        return () => {
          watch[Symbol.dispose]();
          [timer, looking].forEach(clearInterval);
        };
      }),
    ],
    async reconcile(namespace) {
      const mine = gateways
        .list(namespace)
        .filter(({ metadata }) => !metadata.deletionTimestamp)
        .toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
      const planned = await Promise.all(mine.map((gateway) => plan(gateway, namespace)));
      authorities.keep(namespace, new Set(mine.map(({ metadata }) => metadata.name)));
      const workers = [...homes].filter(([, home]) => home === namespace).map(([worker]) => worker);
      await Promise.all(workers.map((worker) => publish(worker, planned)));
      const judged = judgePolicies(policies.list(namespace), secret, exists);
      const denied = judgeDenyPolicies(denyPolicies.list(namespace), exists);
      plans.set(namespace, {
        gateways: new Map(planned.map((entry) => [entry.gateway.metadata.name, entry])),
        policies: new Map(judged.map((policy) => [policy.key.name, policy])),
        denyPolicies: new Map(denied.map((policy) => [policy.key.name, policy])),
      });
      const failed = planned.find(({ error }) => error !== undefined);
      if (failed) throw failed.error;
    },
  });
};
