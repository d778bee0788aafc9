// egress/front: consumes DNS packets of sandboxes; produces questions to Names of `egress`, and answers.
// Owns: the parsing of hostile packets, in the gateway namespace, without capability, route or secret.
// Heavy dependencies: none.
export { serveDns, type DnsOptions, type Resolve } from './dns.ts';
