import { expect, test } from 'vitest';
import { refusedPacketLine } from '../../../src/egress/refused-packets.ts';
import { parseEgress } from '../../../src/telemetry/recorder/lines.ts';
import { recordOfEgress } from '../../../src/telemetry/recorder/record.ts';

const packet = { source: '100.64.0.5', protocol: 'udp', destination: '198.18.16.1', port: 443, time: 1_700_000_000_000 };
const parking = { address: '100.64.0.5', block: '100.64.0.0/20', namespace: 'n', agent: 'a', gateways: ['n/one', 'n/two'] };
const binding = { ...parking, invocation: 'i', traceId: '', spanId: '' };
const nameOf = (gateway: string, address: string) => (gateway === 'n/two' && address === '198.18.16.1' ? 'api.example' : undefined);

test('a refused packet becomes a record: which name was meant, by which protocol, and why it went nowhere', () => {
  const line = refusedPacketLine(packet, { binding, parked: undefined, nameOf });
  expect(line).toMatchObject({ event: 'refused-packet', gateway: 'n/two', host: 'api.example', destination: '198.18.16.1:443', reason: 'NotAdmitted' });
  const record = recordOfEgress(parseEgress(JSON.stringify(line))!, undefined, '0');
  expect(record).toMatchObject({
    time: '2023-11-14T22:13:20.000Z',
    gateway: 'n/two',
    protocol: 'udp',
    host: 'api.example',
    destination: '198.18.16.1:443',
    verdict: 'Denied',
    reason: 'NotAdmitted',
  });
});

test('an address that stands for no name, a protocol without ports, a sandbox without a run or without a gateway', () => {
  expect(refusedPacketLine({ ...packet, protocol: 'icmp', destination: '8.8.8.8', port: 0 }, { binding, parked: undefined, nameOf })).toMatchObject({
    gateway: 'n/one',
    host: '',
    protocol: 'icmp',
    destination: '8.8.8.8',
  });
  expect(refusedPacketLine(packet, { binding: undefined, parked: parking, nameOf })).toMatchObject({ gateway: 'n/two', reason: 'NotClaimed' });
  expect(refusedPacketLine(packet, { binding: { ...binding, gateways: [] }, parked: undefined, nameOf })).toMatchObject({ gateway: '', reason: 'NotAdmitted' });
});
