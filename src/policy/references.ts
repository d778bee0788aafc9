import { GROUP, type AIProviderRoute, type EgressL4Route, type MCPRoute } from '#api';
import { keyOf, no, type ConditionState, type Exists } from './attach.ts';

interface BackendRef {
  readonly group?: string;
  readonly kind?: string;
  readonly name: string;
  readonly namespace?: string;
}
interface Rule {
  readonly filters?: readonly { readonly extensionRef?: { readonly kind: string; readonly name: string } }[];
  readonly backendRefs?: readonly BackendRef[];
}

/** Kinds a filter can refer to. */
const EXTENSIONS = ['RateLimitPolicy', 'LoggingPolicy'];

const ofFilter = (
  path: string,
  namespace: string,
  { kind, name }: { readonly kind: string; readonly name: string },
  exists: Exists,
): ConditionState | undefined => {
  if (!EXTENSIONS.includes(kind)) return no('InvalidKind', `${path} names kind ${kind}; a filter can refer to ${EXTENSIONS.join(' and ')}.`);
  return exists(kind, name, namespace) ? undefined : no('ExtensionNotFound', `${path}: there is no ${kind} ${name} in this namespace.`);
};

const ofBackend = (path: string, namespace: string, ref: BackendRef, exists: Exists): ConditionState | undefined => {
  const { group = '', kind = 'Service', name } = ref;
  if (ref.namespace && ref.namespace !== namespace)
    return no('RefNotPermitted', `${path} names namespace ${ref.namespace}; a backend is one of the own namespace.`);
  if (group !== GROUP || kind !== 'Backend') return no('InvalidKind', `${path} names ${group ? `${group}/` : ''}${kind}; a backend is a Backend of ${GROUP}.`);
  return exists(kind, name, namespace) ? undefined : no('BackendNotFound', `${path}: there is no Backend ${name} in this namespace.`);
};

/** Why a rule lets nothing through: a reference that leads nowhere, or to a policy that is not built. */
export const refusalOfRule = (
  route: AIProviderRoute | MCPRoute | EgressL4Route,
  index: number,
  exists: Exists,
): { readonly reason: string; readonly message: string } | undefined => {
  const { filters = [], backendRefs = [] } = route.spec.rules[index] as Rule;
  for (const [f, { extensionRef }] of filters.entries()) {
    const path = `spec.rules[${index}].filters[${f}].extensionRef`;
    const dangling = extensionRef && ofFilter(path, keyOf(route).namespace, extensionRef, exists);
    if (dangling) return { reason: dangling.reason, message: dangling.message };
    if (extensionRef) return { reason: 'NotBuilt', message: `${path} names ${extensionRef.kind} ${extensionRef.name}, and that kind is not built yet.` };
  }
  if (backendRefs.length === 0) return undefined;
  const path = `spec.rules[${index}].backendRefs[0]`;
  const dangling = ofBackend(path, keyOf(route).namespace, backendRefs[0]!, exists);
  return dangling ? { reason: dangling.reason, message: dangling.message } : { reason: 'NotBuilt', message: `${path}: other upstreams are not built yet.` };
};

/** The first reference in the rules of a route that leads nowhere, as its condition `ResolvedRefs`; undefined when all resolve. */
export const danglingRef = (route: AIProviderRoute | MCPRoute | EgressL4Route, exists: Exists): ConditionState | undefined => {
  const { namespace } = keyOf(route);
  for (const [r, { filters = [], backendRefs = [] }] of (route.spec.rules as readonly Rule[]).entries()) {
    const found = [
      ...filters.map(({ extensionRef }, f) => extensionRef && ofFilter(`spec.rules[${r}].filters[${f}].extensionRef`, namespace, extensionRef, exists)),
      ...backendRefs.map((ref, b) => ofBackend(`spec.rules[${r}].backendRefs[${b}]`, namespace, ref, exists)),
    ].find((state) => state !== undefined);
    if (found) return found;
  }
  return undefined;
};
