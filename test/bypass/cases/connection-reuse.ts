import { BODY, good, headers2, http1, OPENAI } from '../steps.ts';
import { asked, denied, PROVIDER, table } from './build.ts';

const second = JSON.stringify({ ...good, model: 'gpt-4o-mini' });
const own = {
  name: 'provider',
  with: ['sk-second.*gpt-4o-mini', 'sk-proj-.*gpt-4\\.1-mini'],
  without: ['sk-second.*gpt-4\\.1-mini', 'sk-proj-.*gpt-4o-mini'],
} as const;
const h1 = (...requests: readonly string[]) => ({
  tls: {
    host: OPENAI,
    port: 443,
    servername: OPENAI,
    alpn: ['http/1.1'],
    script: requests.flatMap((text, index) => (index === 0 ? [{ text }] : [{ await: '}}' }, { text }])),
  },
});
const h2 = (...streams: readonly (readonly [authority: string, body: string])[]) => ({
  h2: {
    host: OPENAI,
    port: 443,
    servername: OPENAI,
    expect: streams.map((_, index) => index * 2 + 1),
    frames: streams.flatMap(([authority, data], index) => [
      { headers: headers2({ ':authority': authority }), stream: index * 2 + 1, end: false },
      { data, stream: index * 2 + 1 },
    ]),
  },
});

/** One connection for one name and one credential. */
export default [
  ...table('connection reuse', { given: 'two', canary: own, twin: asked('two'), expect: denied([200, 401]) }, [
    {
      name: 'two-credentials',
      what: 'Two requests of one connection that go out with different credentials.',
      steps: [h1(http1({ close: false }), http1({ body: second }))],
    },
    {
      name: 'two-credentials-pipelined',
      what: 'The same without waiting.',
      steps: [
        { tls: { host: OPENAI, port: 443, servername: OPENAI, alpn: ['http/1.1'], script: [{ text: http1({ close: false }) + http1({ body: second }) }] } },
      ],
    },
    { name: 'two-credentials-h2', what: 'The same as streams of one HTTP/2 connection.', steps: [h2([OPENAI, BODY], [OPENAI, second])] },
    { name: 'two-credentials-reversed', what: 'The same streams the other way round.', steps: [h2([OPENAI, second], [OPENAI, BODY])] },
  ]),
  ...table('connection reuse', { canary: PROVIDER, twin: asked() }, [
    {
      name: 'coalescing',
      what: 'A stream for a host that is not the one of the connection, as coalescing browsers do.',
      steps: [h2(['allowed.test', BODY])],
      expect: denied(421, 'HostMismatch'),
    },
    {
      name: 'coalescing-second',
      what: 'The same as a second stream, beside one that is fine.',
      steps: [h2([OPENAI, BODY], ['allowed.test', BODY])],
      expect: denied(421, 'HostMismatch'),
      canary: { name: 'provider', atMost: 1, without: ['allowed\\.test'] },
    },
    {
      name: 'pipelined-other-host',
      what: 'A pipelined second request to another host.',
      steps: [
        {
          tls: {
            host: OPENAI,
            port: 443,
            servername: OPENAI,
            alpn: ['http/1.1'],
            script: [{ text: http1({ close: false }) + http1({ host: 'allowed.test' }) }],
          },
        },
      ],
      expect: denied(421, 'HostMismatch'),
      canary: { name: 'provider', atMost: 1, without: ['allowed\\.test'] },
    },
    {
      name: 'after-denied',
      what: 'A connection to a denied name carries no request to the admitted one.',
      steps: [
        {
          h2: {
            host: 'reuse-{{token}}.test',
            port: 443,
            servername: 'reuse-{{token}}.test',
            frames: [
              { headers: headers2(), stream: 1, end: false },
              { data: BODY, stream: 1 },
            ],
          },
        },
      ],
      expect: denied([403, 421]),
    },
  ]),
];
