/** The contract of handlers for resources that are not stored lives in `api`, so that module `runtime` can fulfil it without this one. */
export type { ExtraGroup, ExtraRequest, ExtraResource, ExtraResponse, ExtraVerb, ExtraWatchEvent } from '#api';
