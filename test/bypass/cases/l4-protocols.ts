import { METADATA, OTHER, PORTS, SITE, SITE6 } from '../../fixtures/canary/places.ts';
import type { Case } from '../case.ts';
import { headers2, plain, tcp, type Step } from '../steps.ts';
import type { VariantName } from '../variants.ts';
import { ANSWERED, CLOSED, CUT, denied, table, type Row } from './build.ts';
import { SEEN, get, request, udp, record, anyDenial, through, named, byAddress, BLOCKED } from './l4-build.ts';

const address = (given: VariantName, name: string, what: string, step: Step, twin: Case['twin'], more: Partial<Row> = {}): Row => ({
  name,
  what,
  given,
  steps: [step],
  expect: CUT,
  record: anyDenial,
  twin,
  ...more,
});
const protocols = table('other protocols', { needs: 'l4', canary: SEEN }, [
  address('tcp', 'l4-other-port', 'The admitted address on another port.', tcp(SITE, 22), byAddress, { slice: true }),
  address('tcp', 'l4-other-address', 'The address beside the admitted one.', tcp(OTHER, PORTS.echo), byAddress),
  address('tcp', 'l4-port-range', 'The port after the last of a range.', tcp(SITE, 8_446), through('tcp', tcp(SITE, 8_445), ANSWERED), {
    canary: { name: 'internet' },
  }),
  address(
    'tcp',
    'l4-other-name',
    'Another name with the same address as the admitted one.',
    tcp('second.test', PORTS.echo),
    through('tcp', tcp('allowed.test', PORTS.echo), ANSWERED),
    { record: undefined, expect: { outcome: ['closed', 'refused', 'unresolved'] } },
  ),
  address(
    'tcp',
    'l4-name-other-port',
    'The admitted name on another port.',
    tcp('allowed.test', 22),
    through('tcp', tcp('allowed.test', PORTS.echo), ANSWERED),
  ),
  address('tcp', 'l4-datagram', 'A datagram where TCP is admitted.', udp(SITE, PORTS.echo), byAddress, { expect: { outcome: 'refused' }, record: undefined }),
  address(
    'tcp',
    'l4-server-first',
    'A server that speaks first, at an address that is not admitted.',
    tcp(OTHER, PORTS.banner, ''),
    through('tcp', tcp(SITE, PORTS.banner, ''), ANSWERED),
  ),
  address('tcp', 'l4-ipv6', 'The same server over IPv6.', tcp(SITE6, PORTS.echo), byAddress, { record: undefined }),
  address(
    'names',
    'l4-address-of-name',
    'The address of an admitted name, dialled directly with the name in the hello.',
    { tls: { host: SITE, port: 443, servername: 'allowed.test', script: [{ text: get('allowed.test') }] } },
    named,
    { expect: CLOSED },
  ),
  address('names', 'l4-other-tls-port', 'An admitted name on a port that is not.', request('allowed.test', 8_080), named, { expect: BLOCKED }),
  address('names', 'l4-cleartext-tls-port', 'Cleartext at the port of TLS.', plain({}, { host: 'allowed.test', port: 443 }), named, { expect: BLOCKED }),
  address('names', 'l4-raw', 'Raw bytes at the port of TLS.', tcp('allowed.test', 443), named),
  address(
    'names',
    'l4-http-other-name',
    'Cleartext HTTP to a name no route admits.',
    plain({}, { host: 'http-{{token}}.test' }),
    through('names', plain({ path: '/{{token}}' }, { host: 'allowed.test' })),
    { expect: BLOCKED },
  ),
  address(
    'names',
    'l4-http-other-host',
    'Cleartext HTTP to an admitted name with another Host.',
    plain({ host: 'second.test' }, { host: 'allowed.test' }),
    through('names', plain({ path: '/{{token}}' }, { host: 'allowed.test' })),
    { expect: denied(421), record: record(['HostMismatch', 'AddressMismatch']) },
  ),
  address(
    'names',
    'l4-h2c',
    'HTTP/2 in cleartext by prior knowledge, another :authority.',
    {
      h2: {
        host: 'allowed.test',
        port: 80,
        cleartext: true,
        frames: [{ headers: headers2({ ':scheme': 'http', ':authority': 'second.test', ':method': 'GET' }), stream: 1 }],
      },
    },
    named,
    { expect: { outcome: ['http-status', 'closed', 'stream-reset'], statuses: [400, 403, 421] } },
  ),
  address('names', 'l4-http-address', 'Cleartext HTTP to a public address.', plain({ host: 'allowed.test' }, { host: SITE }), named, { expect: BLOCKED }),
  address('udp', 'udp-other-port', 'A datagram to another port of the admitted address.', udp(SITE, 8), through('udp', udp(SITE, PORTS.echo), ANSWERED), {
    expect: { outcome: ['refused', 'silence'] },
    record: undefined,
  }),
  address('udp', 'udp-other-address', 'A datagram to the address beside it.', udp(OTHER, PORTS.echo), through('udp', udp(SITE, PORTS.echo), ANSWERED), {
    expect: { outcome: ['refused', 'silence'] },
    record: undefined,
  }),
  address('udp', 'udp-other-name', 'A datagram to another name.', udp('second.test', PORTS.echo), through('udp', udp('allowed.test', PORTS.echo), ANSWERED), {
    expect: { outcome: ['refused', 'silence', 'unresolved'] },
    record: undefined,
  }),
  address('udp', 'udp-quic', 'QUIC to the admitted address.', udp(SITE, 443), through('udp', udp(SITE, PORTS.echo), ANSWERED), {
    expect: { outcome: ['refused', 'silence'] },
    record: undefined,
  }),
  address('udp', 'udp-tcp', 'TCP where datagrams are admitted.', tcp(SITE, PORTS.echo), through('udp', udp(SITE, PORTS.echo), ANSWERED)),
  address('udp', 'udp-metadata', 'A datagram to the metadata service.', udp(METADATA, PORTS.echo), through('udp', udp(SITE, PORTS.echo), ANSWERED), {
    expect: { outcome: ['refused', 'silence'] },
    record: undefined,
  }),
]);

export default protocols;
