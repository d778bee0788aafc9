import type { Case, Expectation } from '../case.ts';
import { plain, tcp, type Step } from '../steps.ts';
import { CUT, notAdmitted, outside, table } from './build.ts';

const udp = (host: string, port: string): Step => ({ udp: { host, port, text: '{{token}}' } });
/** A listener within the same sandbox: what it would say, and that it sees. */
const itself: Case['twin'] = {
  attempt: { given: 'ai', steps: [{ parallel: [{ listen: { port: 7_070, forMs: 900 } }, { series: [{ sleep: 200 }, tcp('127.0.0.1', 7_070)] }] }] },
  expect: { outcome: 'value', says: 'neighbour' },
};
const REFUSED: Expectation = { outcome: 'refused' };
const ABSENT: Expectation = { outcome: ['absent', 'refused'] };
const host = (name: string, what: string, step: Step, expect: Expectation, answered: Step) => ({
  name,
  what,
  steps: [step],
  expect,
  canary: { name: 'host' } as const,
  twin: outside([answered]),
});

/** Other sandboxes, the worker, the control plane, and the machine with its loopback and Unix sockets. */
export default [
  ...table('neighbours', { canary: { name: 'neighbour' }, twin: itself }, [
    {
      name: 'sandbox-tcp',
      what: 'TCP to another sandbox.',
      steps: [tcp('{{neighbour}}', '{{neighbourPort}}')],
      expect: CUT,
      record: notAdmitted('tcp'),
      slice: true,
    },
    { name: 'sandbox-udp', what: 'A datagram to another sandbox.', steps: [udp('{{neighbour}}', '{{neighbourPort}}')], expect: REFUSED },
    {
      name: 'sandbox-http',
      what: 'HTTP to another sandbox.',
      steps: [plain({}, { host: '{{neighbour}}', port: 80 })],
      expect: CUT,
      record: notAdmitted('tcp'),
    },
    {
      name: 'sandbox-dns',
      what: 'The port of DNS at another sandbox leads to our own.',
      steps: [{ dns: { name: 'x-{{token}}.test', server: '{{neighbour}}' } }],
      expect: { outcome: ['sinkhole', 'unresolved', 'no-data'] },
    },
    { name: 'gateway-of-other', what: 'The gateway end of another sandbox.', steps: [tcp('{{neighbourGateway}}', 15_001)], expect: CUT },
    { name: 'gateway-dns', what: 'The DNS port of the gateway itself.', steps: [tcp('{{neighbourGateway}}', 5_353)], expect: CUT },
    { name: 'reserved', what: 'The reserved address of the metadata service on another port.', steps: [tcp('198.19.255.1', 5_380)], expect: CUT },
    { name: 'last-of-range', what: 'The last address of the range of sandboxes.', steps: [tcp('100.127.255.254', 80)], expect: CUT },
  ]),
  ...table('neighbours', {}, [
    {
      ...host('host-uplink', 'The machine by the address of its uplink.', tcp('{{host}}', '{{hostPort}}'), CUT, tcp('{{host}}', '{{hostPort}}')),
      record: notAdmitted('tcp'),
      slice: true,
    },
    host('host-udp', 'A datagram to the machine.', udp('{{host}}', '{{hostPort}}'), REFUSED, udp('{{host}}', '{{hostPort}}')),
    host('host-loopback', 'The loopback of the machine.', tcp('127.0.0.1', '{{hostPort}}'), CUT, tcp('127.0.0.1', '{{hostPort}}')),
    host(
      'host-loopback-mapped',
      'The loopback of the machine as a mapped address.',
      tcp('::ffff:127.0.0.1', '{{hostPort}}'),
      CUT,
      tcp('127.0.0.1', '{{hostPort}}'),
    ),
    host('host-loopback-other', 'Another address of loopback.', tcp('127.1.2.3', '{{hostPort}}'), CUT, tcp('127.0.0.1', '{{hostPort}}')),
    host('abstract-socket', 'An abstract Unix socket of the machine.', { unix: '@clrk-canary' }, ABSENT, { unix: '@clrk-canary' }),
    host('api', 'The API server.', tcp('{{host}}', '{{api}}'), CUT, tcp('127.0.0.1', '{{hostPort}}')),
    host('api-loopback', 'The API server on loopback.', tcp('127.0.0.1', '{{api}}'), CUT, tcp('127.0.0.1', '{{hostPort}}')),
    host(
      'ingress',
      'The ingress, which would start runs.',
      plain({ method: 'POST', path: '/default/ai' }, { host: '{{host}}', port: 80 }),
      CUT,
      tcp('127.0.0.1', '{{hostPort}}'),
    ),
    host('ingress-loopback', 'The ingress on loopback.', tcp('127.0.0.1', '{{ingress}}'), CUT, tcp('127.0.0.1', '{{hostPort}}')),
    host('docker', 'The socket of a container engine.', { unix: '/var/run/docker.sock' }, ABSENT, tcp('127.0.0.1', '{{hostPort}}')),
    host('containerd', 'The socket of containerd.', { unix: '/run/containerd/containerd.sock' }, ABSENT, tcp('127.0.0.1', '{{hostPort}}')),
    host('run', 'What is below /run.', { files: ['/run', '/var/run'] }, { outcome: 'value', says: '^\\{[^]*\\}$' }, tcp('127.0.0.1', '{{hostPort}}')),
    host(
      'init',
      'The root of process 1, which on the machine would be all of it.',
      { read: '/proc/1/root/etc/hostname' },
      { outcome: ['absent', 'refused', 'value', 'timeout'] },
      tcp('127.0.0.1', '{{hostPort}}'),
    ),
    host(
      'service-account',
      'A token of a Kubernetes service account.',
      { read: '/var/run/secrets/kubernetes.io/serviceaccount/token' },
      ABSENT,
      tcp('127.0.0.1', '{{hostPort}}'),
    ),
    host('kubernetes', 'The API of a cluster by its usual address.', tcp('10.96.0.1', 443), CUT, tcp('127.0.0.1', '{{hostPort}}')),
  ]),
];
