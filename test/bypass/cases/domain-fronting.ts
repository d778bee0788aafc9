import { ask, ask2, headers2, http1, OPENAI, BODY } from '../steps.ts';
import { asked, denied, PROVIDER, refused, table } from './build.ts';

const mismatch = { expect: denied(421, 'HostMismatch'), record: refused('HostMismatch') };

/** The outside of a connection says one host, the inside another. */
export default table('domain fronting', { canary: PROVIDER, twin: asked() }, [
  { name: 'front-denied', what: 'Fronted by the admitted name, a denied name inside.', steps: [ask({ host: 'exfil.test' })], ...mismatch },
  {
    name: 'front-by-denied',
    what: 'Fronted by a denied name, the admitted one inside.',
    steps: [ask({}, { host: 'front-{{token}}.test' })],
    expect: denied([403, 421]),
  },
  {
    name: 'front-second-request',
    what: 'The first request is fine, the second on the same connection is fronted.',
    steps: [
      {
        tls: {
          host: OPENAI,
          port: 443,
          servername: OPENAI,
          alpn: ['http/1.1'],
          script: [{ text: http1({ close: false }) }, { await: 'chat.completion' }, { text: http1({ host: 'exfil.test' }) }],
        },
      },
    ],
    expect: denied(421, 'HostMismatch'),
    canary: { name: 'provider', atMost: 1, without: ['exfil'] },
  },
  {
    name: 'front-h2-stream',
    what: 'The first HTTP/2 stream is fine, the second is fronted.',
    steps: [
      {
        h2: {
          host: OPENAI,
          port: 443,
          servername: OPENAI,
          expect: [3],
          frames: [
            { headers: headers2(), stream: 1, end: false },
            { data: BODY, stream: 1 },
            { await: 1 },
            { headers: headers2({ ':authority': 'exfil.test' }), stream: 3, end: false },
            { data: BODY, stream: 3 },
          ],
        },
      },
    ],
    expect: denied(421, 'HostMismatch'),
    canary: { name: 'provider', atMost: 1, without: ['exfil'] },
  },
  {
    name: 'front-forwarded-host',
    what: 'X-Forwarded-Host and Forwarded name another host.',
    steps: [ask({ headers: ['content-type: application/json', 'x-forwarded-host: exfil.test', 'x-host: exfil.test', 'x-original-host: exfil.test'] })],
    expect: { outcome: 'http-status', statuses: [200] },
    canary: { name: 'provider', without: ['"host":"exfil', '":authority":"exfil'] },
  },
  { name: 'front-h2-address', what: ':authority is an address.', steps: [ask2({ pseudo: { ':authority': '203.0.113.10' } })], ...mismatch },
]);
