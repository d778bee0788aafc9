import { expect, test } from 'vitest';
import { parseElements } from '../../../src/sandbox/refusals.ts';

test('elements of sets as nft lists them', () => {
  const text = `table inet gateway {
	set refused_ports {
		type ipv4_addr . inet_proto . ipv4_addr . inet_service
		size 65536
		flags dynamic,timeout
		timeout 1m
		elements = { 100.64.0.1 . udp . 192.0.2.1 . 443 expires 59s796ms,
			     100.64.0.1 . udp . 192.0.2.1 . 53 timeout 1m expires 4ms }
	}
}
table inet gateway {
	set refused_other {
		elements = { 100.64.0.3 . icmp . 192.0.2.9 expires 1m2s, 100.64.0.3 . 132 . 192.0.2.9 expires 1s }
	}
}
`;
  expect(parseElements(text)).toEqual([
    { fields: ['100.64.0.1', 'udp', '192.0.2.1', '443'], expiresMs: 59_796 },
    { fields: ['100.64.0.1', 'udp', '192.0.2.1', '53'], expiresMs: 4 },
    { fields: ['100.64.0.3', 'icmp', '192.0.2.9'], expiresMs: 62_000 },
    { fields: ['100.64.0.3', '132', '192.0.2.9'], expiresMs: 1_000 },
  ]);
  expect(parseElements('')).toEqual([]);
});
