import { expect, test } from 'vitest';
import { LABELS, TEMPLATE_HASH, type AgentSandboxRevision } from '#api';
import { changesBetween, templateOf } from '../../../src/cli/revisions.ts';

const revision = (
  spec: Partial<AgentSandboxRevision['spec']>,
  more: { digest?: string; labels?: object; annotations?: object } = {},
): AgentSandboxRevision => ({
  apiVersion: '',
  kind: '',
  metadata: { name: 'a-00001', labels: { [LABELS.agent]: 'a', ...more.labels }, annotations: { [TEMPLATE_HASH]: 'x', ...more.annotations } },
  spec: { image: 'demo:1', ...spec },
  ...(more.digest && { status: { imageDigest: more.digest } }),
});

test.each<[string, AgentSandboxRevision, AgentSandboxRevision, string[]]>([
  ['nothing', revision({}), revision({}, { digest: 'sha256:a' }), []],
  ['another image', revision({}, { digest: 'sha256:a' }), revision({ image: 'demo:2' }, { digest: 'sha256:b' }), ['image']],
  ['the same name for other content', revision({}, { digest: 'sha256:a' }), revision({}, { digest: 'sha256:b' }), ['content']],
  ['command and arguments', revision({ command: ['a'] }), revision({ args: ['b'] }), ['command', 'args']],
  [
    'variables',
    revision({
      env: [
        { name: 'A', value: '1' },
        { name: 'B', value: '2' },
      ],
    }),
    revision({
      env: [
        { name: 'B', value: '3' },
        { name: 'C', value: '4' },
      ],
    }),
    ['env.A', 'env.B', 'env.C'],
  ],
  ['labels and annotations', revision({}, { labels: { team: 'a' } }), revision({}, { annotations: { note: 'b' } }), ['labels', 'annotations']],
])('%s', (_, before, after, changes) => {
  expect(changesBetween(before, after)).toEqual(changes);
});

test('the template of a revision is without what the controller added', () => {
  expect(templateOf(revision({ args: ['b'] }, { labels: { team: 'a' } }))).toEqual({ metadata: { labels: { team: 'a' } }, image: 'demo:1', args: ['b'] });
});
