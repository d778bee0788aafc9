import { METADATA, PORTS, PRIVATE } from '../../fixtures/canary/places.ts';
import { over, plain, tcp } from '../steps.ts';
import { ANSWERED, CUT, denied, table, type Row } from './build.ts';
import { SEEN, get, request, record, anyDenial, through, named, BLOCKED } from './l4-build.ts';

const forbidden = (name: string, what: string, more: Partial<Row> = {}): Row => ({
  name,
  what,
  steps: [request(`${name}.test`)],
  expect: denied(403, 'ForbiddenAddress'),
  record: record('ForbiddenAddress', 'https'),
  ...more,
});
/** Over IPv6 alone, which this gateway does not ask for: it finds that there is no address, one that asks finds a forbidden one. */
const over6 = (name: string, what: string): Row =>
  forbidden(name, what, {
    expect: denied([403, 502, 503], ['ForbiddenAddress', 'UpstreamUnavailable']),
    record: { reason: ['ForbiddenAddress', 'UpstreamUnavailable'] },
  });

/** The address that was checked is the address that is dialled, and some are never dialled. */
const rebinding = table('rebinding', { needs: 'l4', given: 'names', canary: SEEN, twin: named }, [
  forbidden('metadata', 'A name that resolves to the metadata service.', { slice: true }),
  forbidden('loopback', 'A name that resolves to loopback.'),
  forbidden('private', 'A name that resolves to a private address no route names.'),
  forbidden('cgnat', 'A name that resolves to the range of sandboxes.'),
  forbidden('slice', 'A name that resolves to the addresses that stand for names.'),
  forbidden('alibaba', 'A name that resolves to a metadata service in the range of carriers.'),
  forbidden('multicast', 'A name that resolves to a multicast address.'),
  forbidden('zero', 'A name that resolves to 0.0.0.0.'),
  forbidden('broadcast', 'A name that resolves to the broadcast address.'),
  forbidden('worker', 'A name that resolves to the machine of the proxy.'),
  forbidden('alias', 'A name that is an alias of one that resolves to the metadata service.'),
  {
    name: 'second-answer',
    what: 'A name whose second answer is the metadata service, with a lifetime of 0.',
    steps: [request('rebind.test'), { sleep: 1_200 }, request('rebind.test'), { sleep: 1_200 }, request('rebind.test')],
    expect: { outcome: 'http-status', statuses: [200, 403], withinMs: 12_000 },
    canary: { name: 'site', without: ['169\\.254'] },
  },
  {
    name: 'first-answer',
    what: 'The same the other way round.',
    steps: [request('rebind-fast.test'), { sleep: 1_200 }, request('rebind-fast.test')],
    expect: { outcome: 'http-status', statuses: [200, 403], withinMs: 12_000 },
    canary: { name: 'site', without: ['169\\.254'] },
  },
  {
    name: 'mixed-answer',
    what: 'A name with a public address and the metadata service in one answer.',
    steps: [{ repeat: { count: 6, step: request('mixed.test') } }],
    expect: { outcome: 'value', withinMs: 10_000 },
    canary: { name: 'site', without: ['169\\.254'] },
  },
  over6('mapped', 'A name whose only address is a mapped one of the metadata service.'),
  over6('nat64', 'A name whose only address is the metadata service through NAT64.'),
  over6('metadata6', 'A name whose only address is the metadata service over IPv6.'),
  over6('loopback6', 'A name whose only address is loopback over IPv6.'),
  over6('linklocal6', 'A name whose only address is link-local over IPv6.'),
  over6('unique6', 'A name whose only address is unique local.'),
  {
    name: 'unnamed',
    what: 'A private address within a range that a route names, by a name that no route does.',
    given: 'ranges',
    steps: [request('metadata.test')],
    expect: BLOCKED,
  },
  {
    name: 'range-metadata',
    what: 'The metadata service, though a route names its whole range.',
    given: 'ranges',
    steps: [tcp(METADATA, PORTS.echo)],
    expect: CUT,
    record: record('ForbiddenAddress'),
    canary: { name: 'private' },
    twin: through('ranges', tcp(PRIVATE, PORTS.echo), ANSWERED),
  },
  {
    name: 'range-metadata-http',
    what: 'The same by HTTP.',
    given: 'ranges',
    steps: [plain({}, { host: METADATA })],
    expect: BLOCKED,
    canary: { name: 'private' },
    twin: through('ranges', tcp(PRIVATE, PORTS.echo), ANSWERED),
  },
  {
    name: 'range-worker',
    what: 'The machine of the proxy, though a route names its range.',
    given: 'ranges',
    steps: [tcp('{{host}}', '{{hostPort}}')],
    expect: CUT,
    canary: { name: 'private' },
    twin: through('ranges', tcp(PRIVATE, PORTS.echo), ANSWERED),
  },
  {
    name: 'range-sandboxes',
    what: 'Another sandbox, though a route names its range.',
    given: 'ranges',
    steps: [tcp('{{neighbour}}', '{{neighbourPort}}')],
    expect: CUT,
    canary: { name: 'private' },
    twin: through('ranges', tcp(PRIVATE, PORTS.echo), ANSWERED),
  },
  {
    name: 'range-carrier',
    what: 'A metadata service in the range of carriers, though a route names that range.',
    given: 'ranges',
    steps: [tcp('100.100.100.200', PORTS.echo)],
    expect: CUT,
    canary: { name: 'private' },
    twin: through('ranges', tcp(PRIVATE, PORTS.echo), ANSWERED),
  },
  {
    name: 'beside-range',
    what: 'The private address beside the range.',
    given: 'ranges',
    steps: [tcp('10.99.1.1', PORTS.echo)],
    expect: CUT,
    record: anyDenial,
    canary: { name: 'private' },
    twin: through('ranges', tcp(PRIVATE, PORTS.echo), ANSWERED),
  },
  {
    name: 'name-and-range',
    what: 'A name and a range in one match: its other addresses are dropped.',
    given: 'ranges',
    steps: [over(get('allowed.test'), { host: 'allowed.test' })],
    expect: BLOCKED,
    canary: { name: 'private' },
    twin: through('ranges', request('private.test')),
  },
]);

export default rebinding;
