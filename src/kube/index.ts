// kube: consumes kinds of api and a Kubernetes API server; produces typed calls, caches that follow it, and reconcile loops.
// Owns: Kubernetes as a client: kubeconfig, client, watches, informers, controllers, Events.
// Heavy dependency owned here: undici.
export * from './api-error.ts';
export * from './client.ts';
export * from './controller.ts';
export * from './informer.ts';
export * from './kubeconfig.ts';
export * from './recorder.ts';
export { pathOf, queryOf, type ListOptions, type ResourceKind } from './paths.ts';
export { readLines, type WatchEvent } from './watch.ts';
