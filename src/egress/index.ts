// egress: consumes desired gateways (PolicySets, intermediates, credentials), claims, and questions of Envoy and the front;
// produces Envoy's configuration, leaves, names, verdicts and record files; reports what is in force.
// Owns: addresses of gateways, the xDS server, bindings of addresses to runs. Reaches privilege through HostPort only.
export { createLedgerClient } from './ledger-client.ts';
export { Egress, type EgressOptions, type HostPort } from './egress.ts';
export { UpstreamResolver } from './upstream/index.ts';
