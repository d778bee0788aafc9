/** What a sandbox's packets may become in the gateway namespace: a connection to one of our sockets, or a refusal. */

/** Addresses that mean the same in every sandbox, gateway or not. */
export const RESERVED = { metadata: '198.19.255.1', otlp: '198.19.255.2', dns: '198.19.255.3' } as const;

/** Ports of the gateway namespace that the reserved addresses lead to. */
export const FRONT_PORTS = { dns: 5353, metadata: 5380, otlp: 5318 } as const;

/** Connections and DNS questions one sandbox may have open; more are refused, so that it cannot fill the table of all. */
const MAX_CONNECTIONS = 1024;

export const TABLE = 'inet gateway';

/** Interfaces of sandboxes: host ends of their veth pairs. */
const SANDBOX = 'iifname "sb*"';

/**
 * The whole ruleset. It is loaded before the first sandbox and does not change; only elements of the three maps do.
 *
 * - `spoofed`: an address that does not belong to the interface it came from goes no further (strict reverse path), nor does IPv6.
 * - `steer`: DNS to any server becomes ours; TCP of an address whose sandbox has no run yet (`parked`) goes where it is only
 *   refused and recorded; other TCP goes to the gateway that (block, destination slice) names, else to the first one.
 * - `refuse`: what nobody took is answered at once, so that an agent fails fast instead of waiting.
 *   One beyond its connections is, too; by a reset, as an ICMP answer does not end a TCP connect inside gVisor.
 * - `input`: a sandbox cannot dial the listeners directly, only through `steer`.
 */
export const RULESET = `
table ${TABLE} {
  map route {
    type ipv4_addr . ipv4_addr : inet_service
    flags interval
  }
  map first {
    type ipv4_addr : inet_service
    flags interval
  }
  map parked {
    type ipv4_addr : inet_service
  }
  set connections {
    type ipv4_addr
    size 65536
    flags dynamic
  }
  chain spoofed {
    type filter hook prerouting priority raw; policy accept;
    iifname "lo" accept
    meta nfproto ipv6 drop
    fib saddr . iif oif missing drop
  }
  chain steer {
    type nat hook prerouting priority dstnat; policy accept;
    ${SANDBOX} udp dport 53 redirect to :${FRONT_PORTS.dns}
    ${SANDBOX} tcp dport 53 redirect to :${FRONT_PORTS.dns}
    ${SANDBOX} meta l4proto tcp redirect to :ip saddr map @parked
    ${SANDBOX} ip daddr ${RESERVED.metadata} tcp dport 80 redirect to :${FRONT_PORTS.metadata}
    ${SANDBOX} ip daddr ${RESERVED.otlp} tcp dport 4318 redirect to :${FRONT_PORTS.otlp}
    ${SANDBOX} meta l4proto tcp redirect to :ip saddr . ip daddr map @route
    ${SANDBOX} meta l4proto tcp redirect to :ip saddr map @first
  }
  chain refuse {
    type filter hook prerouting priority 10; policy accept;
    iifname != "sb*" accept
    ct state new meta l4proto tcp add @connections { ip saddr ct count over ${MAX_CONNECTIONS} } reject with tcp reset
    ct state new meta l4proto != tcp add @connections { ip saddr ct count over ${MAX_CONNECTIONS} } reject with icmp admin-prohibited
    ct status dnat accept
    meta l4proto tcp reject with tcp reset
    meta l4proto udp reject with icmp port-unreachable
    meta l4proto icmp reject with icmp admin-prohibited
    drop
  }
  chain input {
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
    ct state established,related accept
    ${SANDBOX} ct status dnat accept
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
  }
}
`;
