import { ask, ask2, CHAT, headers2, OPENAI, over, plain } from '../steps.ts';
import { asked, CUT, denied, OK, PROVIDER, refused, table } from './build.ts';

const request = (...lines: readonly string[]): string => [...lines, 'x-case: {{token}}', '', ''].join('\r\n');
const NO_STREAM = { outcome: ['stream-reset', 'closed', 'http-status'], statuses: [400, 403, 404, 405, 421, 501] } as const;
const connect2 = (authority: string, protocol?: string) => ({
  h2: {
    host: OPENAI,
    port: 443,
    servername: OPENAI,
    frames: [
      {
        headers: headers2({
          ':method': 'CONNECT',
          ':authority': authority,
          ...(protocol ? { ':protocol': protocol } : { ':scheme': undefined, ':path': undefined }),
        }),
        stream: 1,
        end: false,
      },
    ],
  },
});
const upgrade = (to: string, ...more: readonly string[]): string =>
  request(`GET ${CHAT} HTTP/1.1`, `host: ${OPENAI}`, 'connection: upgrade', `upgrade: ${to}`, ...more);

/** Ways to get a pipe for bytes nobody reads: only where a route allows it. */
export default table('tunnels', { canary: PROVIDER, twin: asked(), expect: denied([400, 403, 404, 405, 421, 426, 501]) }, [
  { name: 'connect-other', what: 'CONNECT to another host.', steps: [over(request('CONNECT evil.test:443 HTTP/1.1', 'host: evil.test:443'))], slice: true },
  { name: 'connect-same', what: 'CONNECT to the admitted host.', steps: [over(request(`CONNECT ${OPENAI}:443 HTTP/1.1`, `host: ${OPENAI}:443`))] },
  { name: 'connect-address', what: 'CONNECT to an address.', steps: [over(request('CONNECT 203.0.113.10:443 HTTP/1.1', 'host: 203.0.113.10:443'))] },
  {
    name: 'connect-cleartext',
    what: 'CONNECT in cleartext, as to a forward proxy.',
    steps: [plain({ method: 'CONNECT', path: `${OPENAI}:443` })],
    expect: CUT,
  },
  { name: 'proxy-get', what: 'GET of an absolute URL in cleartext, as to a forward proxy.', steps: [plain({ path: `http://${OPENAI}/` })], expect: CUT },
  {
    name: 'websocket',
    what: 'A WebSocket.',
    steps: [over(upgrade('websocket', 'sec-websocket-version: 13', 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=='))],
    expect: denied([403, 426], 'UpgradeNotAllowed'),
    slice: true,
  },
  { name: 'upgrade-other', what: 'An upgrade to a protocol nobody knows.', steps: [over(upgrade('clrk-tunnel/1'))], expect: denied([403, 426]) },
  { name: 'upgrade-udp', what: 'An upgrade to connect-udp.', steps: [over(upgrade('connect-udp', 'capsule-protocol: ?1'))], expect: denied([403, 404, 426]) },
  { name: 'upgrade-tls', what: 'An upgrade to TLS within TLS.', steps: [over(upgrade('TLS/1.0'))], expect: denied([403, 426]) },
  {
    name: 'h2c',
    what: 'An upgrade to HTTP/2 in cleartext: answered without it.',
    steps: [ask({ headers: ['content-type: application/json', 'upgrade: h2c', 'http2-settings: AAMAAABkAAQAAP__'] })],
    expect: { outcome: 'http-status', statuses: [200, 400, 403] },
    canary: { name: 'provider', without: ['"upgrade"'] },
  },
  {
    name: 'websocket-denied',
    what: 'A WebSocket to a denied name.',
    steps: [
      over(request('GET / HTTP/1.1', 'host: ws-{{token}}.test', 'connection: upgrade', 'upgrade: websocket', 'sec-websocket-key: x'), {
        host: 'ws-{{token}}.test',
      }),
    ],
    expect: denied(403),
    record: refused(['NoRoute', 'UpgradeNotAllowed']),
  },
  { name: 'h2-connect', what: 'CONNECT over HTTP/2.', steps: [connect2('evil.test:443')], expect: NO_STREAM },
  { name: 'h2-connect-same', what: 'CONNECT over HTTP/2 to the admitted host.', steps: [connect2(`${OPENAI}:443`)], expect: NO_STREAM },
  { name: 'h2-websocket', what: 'A WebSocket over HTTP/2 by extended CONNECT.', steps: [connect2(OPENAI, 'websocket')], expect: NO_STREAM },
  { name: 'h2-udp', what: 'connect-udp over HTTP/2.', steps: [connect2(OPENAI, 'connect-udp')], expect: NO_STREAM },
  { name: 'h2-protocol', what: 'A :protocol on a request that is no CONNECT.', steps: [ask2({ pseudo: { ':protocol': 'websocket' } })], expect: NO_STREAM },
  {
    name: 'early-bytes',
    what: 'Bytes after an upgrade that was refused are no stream.',
    steps: [over(`${upgrade('websocket', 'sec-websocket-version: 13', 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==')}\x81\x05hello`)],
    expect: { outcome: ['http-status', 'closed'], statuses: [400, 403, 426] },
  },
  {
    name: 'expect-continue',
    what: 'A body that waits for 100 Continue is judged all the same.',
    steps: [ask({ headers: ['content-type: application/json', 'expect: 100-continue'] })],
    expect: { ...OK, statuses: [200, 417] },
    canary: { name: 'provider', atMost: 1 },
  },
]);
