import { BAD_CERTIFICATES, type BadCertificate } from '../../fixtures/canary/places.ts';
import { ask, OPENAI } from '../steps.ts';
import { asked, CLOSED, denied, notAdmitted, OK, outside, PROVIDER, siteRequest, table } from './build.ts';

const upstream = (name: BadCertificate, what: string) => ({
  name,
  what,
  given: name,
  steps: [ask()],
  expect: denied(502, 'UpstreamCertificateInvalid'),
  record: { protocol: 'https', verdict: 'Allowed', reason: 'UpstreamCertificateInvalid' } as const,
  canary: { name: 'badcert', without: ['"event":"(hello|request)"'] } as const,
  twin: outside([siteRequest(OPENAI, OPENAI, BAD_CERTIFICATES[name])], OK, '"event":"request"'),
});

/** The authority of a gateway, and those of upstreams. */
export default [
  ...table('ca', {}, [
    { ...upstream('expired', 'An upstream whose certificate has expired gets no credential.'), slice: true },
    upstream('wrong-name', 'An upstream whose certificate is for another name.'),
    upstream('unknown-ca', 'An upstream whose certificate nobody known has signed.'),
    {
      ...upstream('weak', 'An upstream with a key and a signature that can be forged, below a trusted root.'),
      expect: denied(502, ['UpstreamCertificateInvalid', 'UpstreamTLSFailed']),
      record: { protocol: 'https', verdict: 'Allowed', reason: ['UpstreamCertificateInvalid', 'UpstreamTLSFailed'] },
    },
  ]),
  ...table('ca', {}, [
    {
      name: 'no-key',
      what: 'No private key is in the sandbox.',
      steps: [{ files: ['/etc', '/run', '/var', '/tmp', '/usr', '/dev'] }],
      expect: { outcome: 'value', says: 'CERTIFICATE' },
      canary: { name: 'key', without: ['PRIVATE KEY'] },
      twin: { attempt: { given: 'ai', steps: [{ files: ['/etc'] }] }, expect: { outcome: 'value', says: 'CERTIFICATE' } },
    },
    {
      name: 'other-gateway',
      what: 'The address another gateway gave for the admitted name.',
      given: 'two',
      steps: [ask({}, { host: '{{aiAddress}}', servername: OPENAI })],
      expect: CLOSED,
      record: notAdmitted('tls'),
      canary: PROVIDER,
      twin: asked('two'),
    },
    {
      name: 'no-way',
      what: 'The same from a sandbox without a gateway.',
      given: 'nothing',
      steps: [ask({}, { host: '{{aiAddress}}', servername: OPENAI })],
      expect: { outcome: ['closed', 'refused', 'tls-refused'] },
      canary: PROVIDER,
      twin: asked(),
    },
  ]),
];
