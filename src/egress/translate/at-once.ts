import { MAX_SHORT_BODY } from '../engine/short-bodies.ts';
import { any, type Json } from './envoy.ts';
import { OWN_HEADERS } from './headers.ts';

/**
 * Short bodies go to the engine together with the headers: one trip instead of two. Not for others: Envoy keeps nothing of what it
 * sends so, and the engine would have to hold it; and each piece of a body costs both of them a message.
 */
const AT_ONCE: Json = {
  engine: any('envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute', {
    overrides: {
      processing_mode: {
        request_header_mode: 'SEND',
        request_body_mode: 'FULL_DUPLEX_STREAMED',
        request_trailer_mode: 'SEND',
        response_header_mode: 'SKIP',
        response_body_mode: 'NONE',
        response_trailer_mode: 'SKIP',
      },
    },
  }),
};

/** Whoever does not say the length, or says it twice, is not met by it. The end is exclusive. */
const SHORT: Json = { name: 'content-length', range_match: { start: 1, end: MAX_SHORT_BODY + 1 } };

/** A route as it is written here. */
interface Route extends Json {
  readonly match: { readonly headers?: readonly { readonly name: string }[] };
  readonly typed_per_filter_config?: Json;
}

const atOnce = (route: Route): Json => ({
  ...route,
  match: { ...route.match, headers: [...(route.match.headers ?? []), SHORT] },
  typed_per_filter_config: { ...route.typed_per_filter_config, ...AT_ONCE },
});

/** Before each route whose requests the engine judges, the same route for short bodies. Routes the engine has chosen are too late for that. */
export const shortBodiesAtOnce = (routes: readonly Json[]): readonly Json[] =>
  (routes as readonly Route[]).flatMap((route) =>
    route.typed_per_filter_config?.['engine'] || route.match.headers?.some(({ name }) => name === OWN_HEADERS.route) ? [route] : [atOnce(route), route],
  );
