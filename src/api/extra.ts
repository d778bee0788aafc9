import type { Column, KubeObject } from './kind.ts';
import type { JsonSchema } from './schema.ts';

/**
 * Resources of the API that are not stored by the API server but answered by a handler: the runtime API. The server
 * authenticates, authorises, filters by selector, makes Tables, stamps `apiVersion` and `kind`, and ends watches.
 */
export interface ExtraGroup {
  /** May be a group that has stored kinds too; the server merges them. */
  readonly group: string;
  readonly version: string;
  readonly resources: readonly ExtraResource[];
}

export type ExtraVerb = 'get' | 'list' | 'watch' | 'create';

export interface ExtraResource {
  /** Plural, as in the path: `invocations`. */
  readonly name: string;
  readonly singular: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly shortNames: readonly string[];
  /** Other verbs are answered 405. May be empty for a resource that has subresources only. */
  readonly verbs: readonly ExtraVerb[];
  /** After Name; read from the objects of a list when a Table is asked for. */
  readonly columns?: readonly Column[];
  /** `taskagents/NAME/invoke`; a POST there is verb `create` of `taskagents/invoke`. */
  readonly subresources?: readonly { readonly name: string; readonly kind: string; readonly verbs: readonly ExtraVerb[]; readonly maxBodyBytes?: number }[];
  /** For OpenAPI (`kubectl explain`). */
  readonly schema?: JsonSchema;
  handle(request: ExtraRequest): Promise<ExtraResponse>;
}

export interface ExtraRequest {
  readonly verb: ExtraVerb;
  /** Empty = all namespaces (list and watch only). */
  readonly namespace: string;
  /** Empty for list; for watch and list it is the name of a `metadata.name=` field selector, if there is one. */
  readonly name: string;
  /** Empty for the resource itself. */
  readonly subresource: string;
  readonly query: URLSearchParams;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  /** Who calls: common name and organisations of the client certificate. */
  readonly principal: { readonly name: string; readonly groups: readonly string[] };
  /** Aborted when the caller goes away, a watch times out or the server stops. */
  readonly signal: AbortSignal;
}

export interface ExtraWatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: KubeObject;
}

export type ExtraResponse =
  /** Answered as JSON with status 200 (201 for create). */
  | { readonly object: KubeObject }
  /** `resourceVersion` defaults to the highest (numeric) one of the items. */
  | { readonly list: readonly KubeObject[]; readonly resourceVersion?: string; readonly continue?: string }
  /** Current objects as ADDED first, then every change; the server drops those not newer than what the caller has seen. */
  | { readonly watch: AsyncIterable<ExtraWatchEvent> }
  /** Passed on as it is; an error in `body` breaks the connection, so that the answer does not look complete. */
  | { readonly stream: { readonly status: number; readonly headers: Readonly<Record<string, string>>; readonly body: AsyncIterable<Uint8Array> } }
  /** A Kubernetes Status: `{code: 404, reason: 'NotFound', message: 'invocations.runtime.clrk.apoxy.dev "x" not found'}`. */
  | { readonly failure: { readonly code: number; readonly reason: string; readonly message: string } };
