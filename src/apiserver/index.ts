// apiserver: consumes the kinds of `api`, verdicts of `admission` and handlers for resources that are not stored; produces a Kubernetes API over HTTPS.
// Owns: verbs, server-side apply, watches, discovery, OpenAPI, access, and the objects in SQLite.
// Heavy dependencies: none.
export { createApiServer, type ApiServer, type ApiServerOptions } from './server.ts';
export type * from './extra.ts';
