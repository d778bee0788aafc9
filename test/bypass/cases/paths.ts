import { ask, ask2, CHAT } from '../steps.ts';
import { asked, denied, OK, PROVIDER, refused, table } from './build.ts';

const other = { expect: denied(403), record: refused(['EndpointNotAllowed', 'EndpointNotBuilt', 'NoRoute', 'MethodNotAllowed']) };
const canonical = {
  expect: OK,
  canary: { name: 'provider', atMost: 1, with: ['"path":"/v1/chat/completions[?"]'], without: ['"path":"(?!/v1/chat/completions[?"])'] },
} as const;

/** Spellings of a path: judged and forwarded in one form. */
export default table('paths', { canary: PROVIDER, twin: asked() }, [
  { name: 'other', what: 'Another endpoint of the same provider.', steps: [ask({ path: '/v1/files' })], ...other, slice: true },
  { name: 'dot-segments', what: 'Dot segments that lead to another endpoint.', steps: [ask({ path: `${CHAT}/../../files` })], ...other },
  { name: 'encoded-dots', what: 'Percent-encoded dot segments.', steps: [ask({ path: `${CHAT}/%2e%2e/%2e%2e/files` })], ...other, slice: true },
  { name: 'double-encoded-dots', what: 'Dot segments that are encoded twice.', steps: [ask({ path: `${CHAT}/%252e%252e/files` })], ...other },
  { name: 'encoded-slash', what: 'An encoded slash within the path.', steps: [ask({ path: '/v1/chat%2fcompletions' })], ...other },
  {
    name: 'backslash',
    what: 'A backslash, which some read as a slash: forwarded as the slash it was judged as.',
    steps: [ask({ path: '/v1/chat\\completions' })],
    ...canonical,
  },
  { name: 'double-slash', what: 'Empty segments before another endpoint.', steps: [ask({ path: '//v1//files' })], ...other },
  { name: 'parameter', what: 'A path parameter that names another endpoint.', steps: [ask({ path: `${CHAT};x=/v1/files` })], ...other },
  { name: 'parameter-dots', what: 'A path parameter on a dot segment.', steps: [ask({ path: `${CHAT}/..;/files` })], ...other },
  { name: 'case', what: 'The path in capitals.', steps: [ask({ path: '/V1/CHAT/COMPLETIONS' })], ...other },
  { name: 'nul', what: 'An encoded NUL at the end of the path.', steps: [ask({ path: `${CHAT}%00` })], expect: denied([400, 403]) },
  { name: 'overlong', what: 'A slash in overlong UTF-8.', steps: [ask({ path: '/v1/chat%c0%afcompletions' })], expect: denied([400, 403]) },
  { name: 'trailing-slash', what: 'A slash at the end.', steps: [ask({ path: `${CHAT}/` })], ...other },
  {
    name: 'fragment',
    what: 'A fragment in the request target.',
    steps: [ask({ path: `${CHAT}#/v1/files` })],
    expect: denied([400, 403]),
    canary: { name: 'provider' },
  },
  { name: 'query-path', what: 'Another endpoint in the query: it stays a query.', steps: [ask({ path: `${CHAT}?/../../files` })], ...canonical },
  {
    name: 'single-dot',
    what: 'A dot segment that changes nothing is taken out before it is forwarded.',
    steps: [ask({ path: '/v1/./chat/completions' })],
    ...canonical,
  },
  {
    name: 'dots-to-admitted',
    what: 'Dot segments that lead to the admitted endpoint: forwarded as that, not as they came.',
    steps: [ask({ path: '/v1/files/../chat/completions' })],
    ...canonical,
  },
  {
    name: 'method-override',
    what: 'A header that asks for another method.',
    steps: [ask({ headers: ['content-type: application/json', 'x-http-method-override: DELETE'] })],
    expect: OK,
    canary: { name: 'provider', without: ['"method":"(?!POST)'] },
  },
  {
    name: 'trace',
    what: 'TRACE, which would send the credential back.',
    steps: [ask({ method: 'TRACE', body: '' })],
    expect: denied([403, 405]),
    record: refused('MethodNotAllowed'),
  },
  {
    name: 'h2-relative',
    what: 'A :path without a leading slash.',
    steps: [ask2({ pseudo: { ':path': 'v1/files' } })],
    expect: { outcome: ['stream-reset', 'closed', 'http-status'], statuses: [400, 403] },
  },
  {
    name: 'h2-absolute',
    what: 'An absolute URL as :path.',
    steps: [ask2({ pseudo: { ':path': 'https://evil.test/v1/files' } })],
    expect: { outcome: ['stream-reset', 'closed', 'http-status'], statuses: [400, 403, 421] },
  },
  { name: 'options-star', what: 'OPTIONS *.', steps: [ask({ method: 'OPTIONS', path: '*', body: '' })], expect: denied([400, 403, 404, 405]) },
]);
