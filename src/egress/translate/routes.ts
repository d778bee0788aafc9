import { admittedHosts, AI_PORT, isMcpRoute, nameOfRoute, servedBy } from '#policy';
import type { PolicySet } from '#model';
import type { ResourceJson } from '#wire/xds';
import { ECHO_HEADER } from './credential-lua.ts';
import { shortBodiesAtOnce } from './at-once.ts';
import { any, duration, type Json } from './envoy.ts';
import { OWN_HEADERS, STATUS_HEADER } from './headers.ts';
import { WITHOUT_ENGINE } from './http.ts';
import { WITHOUT_USAGE } from './usage.ts';
import type { TranslateInput } from './input.ts';
import { clusterName, impediment, misled, servedAt, type About, type Served } from './serving.ts';

/** Methods of APIs. Others (TRACE, CONNECT, …) are claimed by no route. */
const METHODS = '^(GET|HEAD|POST|PUT|PATCH|DELETE)$';

/** Largest body of a request that is judged; the engine judges it whole. */
const MAX_REQUEST_BODY = 32 * 1024 * 1024;

/** Removed from every request: ours, and what Envoy adds. */
const REMOVED_REQUEST_HEADERS = [...Object.values(OWN_HEADERS), 'x-forwarded-proto', 'x-forwarded-for', 'x-envoy-external-address', 'x-envoy-internal'];

/** Read by the access log and local replies. */
const metadata = (policy: PolicySet, about: Partial<About> = {}): Json => ({
  filter_metadata: { clrk: { route: '', policy: '', ...about, revision: policy.revision } },
});

const refusal = (policy: PolicySet, status: number, about: Partial<About>, match: Json = { prefix: '/' }): Json => ({
  name: about.reason,
  match,
  direct_response: { status },
  metadata: metadata(policy, about),
  typed_per_filter_config: WITHOUT_ENGINE,
});

/**
 * The only route of a host takes what the engine has not judged yet, and what it gave to this route. What it gave to another one comes before
 * Envoy has heard of that, and must not go out with the credential of this.
 */
const notYetThere = (policy: PolicySet, { route, port }: Served): Json => ({
  name: 'not-yet-there',
  match: {
    prefix: '/',
    headers: [
      { name: OWN_HEADERS.route, present_match: true },
      { name: OWN_HEADERS.route, string_match: { exact: servedBy(nameOfRoute(route), port) }, invert_match: true },
    ],
  },
  direct_response: { status: 503 },
  metadata: metadata(policy, { reason: 'GatewayNotReady', message: 'The gateway has not taken up its new routes yet; try again.' }),
});

/** How long a stream that a server has open for an agent may be silent; connections do not live longer. */
const MAX_SILENCE_MS = 3_600_000;

const withMethods = (regex: string): Json => ({ name: ':method', string_match: { safe_regex: { regex } } });

/** A route to the upstream for some methods; `tagged` = only for requests the engine gave to this route. */
const forward = (input: TranslateInput, one: Served, tagged: boolean, methods: string, times: Json): Json => {
  const { route, host, port } = one;
  const name = nameOfRoute(route);
  const match: Json = {
    prefix: '/',
    headers: [withMethods(methods), ...(tagged ? [{ name: OWN_HEADERS.route, string_match: { exact: servedBy(name, port) } }] : [])],
  };
  const impeded = impediment(input, one) ?? misled(input, one);
  if (impeded) {
    const { status, ...about } = impeded;
    return refusal(input.policy, status, about, match);
  }
  return {
    name,
    match,
    metadata: metadata(input.policy, { route: name, policy: route.credential ? `CredentialInjectionPolicy/${route.credential.policy}` : '' }),
    // The Host came without the port, which was the one that was dialled.
    route: { cluster: clusterName(one), ...times, ...(port !== AI_PORT && { host_rewrite_literal: `${host}:${port}` }) },
    // Answers are read natively for usage, and searched for what was injected, so they must not be compressed.
    request_headers_to_remove: ['accept-encoding'],
    ...(!route.credential && { response_headers_to_remove: [ECHO_HEADER] }),
    ...(isMcpRoute(route) && { typed_per_filter_config: WITHOUT_USAGE }),
    request_body_buffer_limit: MAX_REQUEST_BODY,
  };
};

/** Routes to one upstream. A stream that an MCP server has open for an agent is no request that takes long: only silence ends it. */
const forwards = (input: TranslateInput, one: Served, tagged: boolean): readonly Json[] => {
  const most = duration(input.policy.requestTimeoutMs);
  const times = { timeout: most, idle_timeout: most };
  if (!isMcpRoute(one.route)) return [forward(input, one, tagged, METHODS, times)];
  return [forward(input, one, tagged, '^GET$', { timeout: '0s', idle_timeout: duration(MAX_SILENCE_MS) }), forward(input, one, tagged, METHODS, times)];
};

/**
 * Routes of a host. The engine sees every request. Where several routes claim the host, or it has several ports, the engine decides which
 * one serves a request and says so in a header; until then the request has no way out.
 */
const hostRoutes = (input: TranslateInput, host: string): readonly Json[] => {
  const all = servedAt(input.policy, host);
  const other = refusal(input.policy, 403, { reason: 'MethodNotAllowed', message: 'No route of this gateway admits this method.' });
  if (all.length === 1) return [notYetThere(input.policy, all[0]!), ...forwards(input, all[0]!, false), other];
  const unassigned: Json = {
    name: 'unassigned',
    match: { prefix: '/', headers: [withMethods(METHODS)] },
    direct_response: { status: 403 },
    metadata: metadata(input.policy, { reason: 'NoRoute', message: 'No route of this gateway took this request.' }),
    request_body_buffer_limit: MAX_REQUEST_BODY,
  };
  return [...all.flatMap((one) => forwards(input, one, true)), unassigned, other];
};

const table = (name: 'l7' | 'http' | 'deny', virtual_hosts: readonly Json[]): ResourceJson =>
  any('envoy.config.route.v3.RouteConfiguration', {
    name,
    virtual_hosts,
    request_headers_to_remove: REMOVED_REQUEST_HEADERS,
    // An upstream must not send clients past this gateway.
    response_headers_to_remove: ['alt-svc', STATUS_HEADER],
  });

const nobody = (policy: PolicySet): Json => ({
  name: 'nobody',
  domains: ['*'],
  routes: [refusal(policy, 403, { reason: 'NoRoute', message: 'No route of this gateway admits this host.' })],
});

/** Whatever no route claims that judges requests waits for its verdict. Upgrades to WebSocket are let through with the rest. */
const judged = ({ policy }: TranslateInput): Json => ({
  name: 'judged',
  domains: ['*'],
  routes: [
    {
      name: 'judged',
      match: { prefix: '/' },
      route: {
        cluster_header: OWN_HEADERS.verdict,
        timeout: duration(policy.requestTimeoutMs),
        idle_timeout: duration(policy.requestTimeoutMs),
        upgrade_configs: [{ upgrade_type: 'websocket' }],
      },
      metadata: metadata(policy),
      // Where nothing is injected, an upstream's own header of this name says nothing.
      ...(!policy.credential && { response_headers_to_remove: [ECHO_HEADER] }),
      typed_per_filter_config: WITHOUT_ENGINE,
    },
  ],
});

/** The route tables of a gateway. */
export const routeTables = (input: TranslateInput): readonly ResourceJson[] => [
  table('l7', [
    ...admittedHosts(input.policy, input.names).map((host) => ({ name: host, domains: [host], routes: shortBodiesAtOnce(hostRoutes(input, host)) })),
    judged(input),
  ]),
  table('http', [judged(input)]),
  table('deny', [nobody(input.policy)]),
];
