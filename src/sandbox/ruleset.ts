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

/** Datagrams a second of one sandbox to where nothing was ever answered: each can be a line of a log. */
const UNANSWERED = { burst: 1_000, perSecond: 500 };

/** How long a refused packet is not written down again, s. */
export const REFUSED_AGAIN_S = 60;

/** Refused packets one sandbox has written down: some at once, then so many a second. */
const NOISE = { burst: 60, perSecond: 2 };

/**
 * The whole ruleset. It is loaded before the first sandbox and does not change; only elements of the maps do. Elements of an
 * interval map with several fields must be disjoint: of two that overlap, the kernel finds any.
 *
 * - `spoofed`: an address that does not belong to the interface it came from goes no further (strict reverse path), nor does IPv6.
 * - `admitted`: every datagram, not only the first of a flow, goes where an element leads it or is refused, so that taking an
 *   element away ends what is open. A sandbox without a run (`parked`) sends none. `replies`: the same for what comes back.
 * - `steer`: DNS to any server becomes ours; TCP of an address whose sandbox has no run yet (`parked`) goes where it is only
 *   refused and recorded; other TCP goes where (block, addresses, ports) leads it (`wide`), else to the gateway that (block,
 *   destination slice) names, else to the first one.
 * - `refuse`: what nobody took is answered at once, so that an agent fails fast instead of waiting.
 *   One beyond its connections is, too; by a reset, as an ICMP answer does not end a TCP connect inside gVisor.
 * - `refused`: writes down what is refused, each (source, protocol, destination, port) once a minute. A sandbox that tries more
 *   than that is bounded by `noise`, and fills no room of others.
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
  map wide {
    type ipv4_addr . ipv4_addr . inet_service : inet_service
    flags interval
  }
  map datagrams {
    type ipv4_addr . ipv4_addr . inet_service : inet_service
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
  set unanswered {
    type ipv4_addr
    size 65536
    flags dynamic,timeout
    timeout 1m
  }
  set noise {
    type ipv4_addr
    size 65536
    flags dynamic,timeout
    timeout 2m
  }
  set refused_ports {
    type ipv4_addr . inet_proto . ipv4_addr . inet_service
    size 65536
    flags dynamic,timeout
    timeout ${REFUSED_AGAIN_S}s
  }
  set refused_other {
    type ipv4_addr . inet_proto . ipv4_addr
    size 65536
    flags dynamic,timeout
    timeout ${REFUSED_AGAIN_S}s
  }
  counter refusals { }
  chain spoofed {
    type filter hook prerouting priority raw; policy accept;
    iifname "lo" accept
    meta nfproto ipv6 drop
    fib saddr . iif oif missing drop
  }
  chain admitted {
    type filter hook prerouting priority mangle; policy accept;
    ${SANDBOX} meta l4proto udp jump datagram
  }
  chain datagram {
    udp dport 53 return
    ip saddr != @parked ip saddr . ip daddr . udp dport @datagrams return
    goto refused
  }
  chain replies {
    type filter hook output priority filter; policy accept;
    oifname != "sb*" accept
    meta l4proto udp ct original proto-dst 53 accept
    meta l4proto udp ct direction reply ct original ip saddr . ct original ip daddr . ct original proto-dst != @datagrams drop
  }
  chain steer {
    type nat hook prerouting priority dstnat; policy accept;
    ${SANDBOX} udp dport 53 redirect to :${FRONT_PORTS.dns}
    ${SANDBOX} tcp dport 53 redirect to :${FRONT_PORTS.dns}
    ${SANDBOX} meta l4proto udp redirect to :ip saddr . ip daddr . udp dport map @datagrams
    ${SANDBOX} meta l4proto tcp redirect to :ip saddr map @parked
    ${SANDBOX} ip daddr ${RESERVED.metadata} tcp dport 80 redirect to :${FRONT_PORTS.metadata}
    ${SANDBOX} ip daddr ${RESERVED.otlp} tcp dport 4318 redirect to :${FRONT_PORTS.otlp}
    ${SANDBOX} meta l4proto tcp redirect to :ip saddr . ip daddr . tcp dport map @wide
    ${SANDBOX} meta l4proto tcp redirect to :ip saddr . ip daddr map @route
    ${SANDBOX} meta l4proto tcp redirect to :ip saddr map @first
  }
  chain refuse {
    type filter hook prerouting priority 10; policy accept;
    iifname != "sb*" accept
    ct state new meta l4proto tcp add @connections { ip saddr ct count over ${MAX_CONNECTIONS} } reject with tcp reset
    ct state new meta l4proto != tcp add @connections { ip saddr ct count over ${MAX_CONNECTIONS} } reject with icmp admin-prohibited
    ct state new meta l4proto udp udp dport != ${FRONT_PORTS.dns} update @unanswered { ip saddr limit rate over ${UNANSWERED.perSecond}/second burst ${UNANSWERED.burst} packets } drop
    ct status dnat accept
    goto refused
  }
  chain refused {
    counter name refusals
    meta l4proto { tcp, udp } ip saddr . meta l4proto . ip daddr . th dport @refused_ports goto answer
    ip saddr . meta l4proto . ip daddr @refused_other goto answer
    update @noise { ip saddr limit rate over ${NOISE.perSecond}/second burst ${NOISE.burst} packets } goto answer
    meta l4proto { tcp, udp } add @refused_ports { ip saddr . meta l4proto . ip daddr . th dport } goto answer
    add @refused_other { ip saddr . meta l4proto . ip daddr }
    goto answer
  }
  chain answer {
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
