import { AGE, clrkKind, type Kind, type Resource } from '../kind.ts';
import { bool, image, int32, listMap, object, string, time, type Infer } from '../schema.ts';
import { conditions, revisionFields } from '../shared.ts';

const spec = object('What runs, as it was when the revision was made.', { image: image('OCI image.') }, revisionFields, {
  rules: [{ rule: 'self == oldSelf', message: 'a revision is immutable: change spec.template of its agent, which makes a new revision' }],
});

const status = object(
  'What workers reported.',
  {},
  {
    conditions,
    imageDigest: string(
      'Content the image name stood for when the revision became ready for the first time; what it runs from then on, wherever the name points later.',
    ),
    readyWorkers: int32('Workers that have its image unpacked, and on which a sandbox of it starts.'),
    workers: listMap(
      'State of each worker.',
      ['podName'],
      object(
        'State of one worker.',
        { podName: string('The worker.'), imagePulled: bool('Whether the image is there.') },
        {
          warmCount: int32('Warm sandboxes there.'),
          activeExecutions: int32('Runs of this revision there.'),
          lastHeartbeat: time('Last report.'),
        },
      ),
    ),
  },
);

export type AgentSandboxRevision = Resource<Infer<typeof spec>, Infer<typeof status>>;

export const agentSandboxRevisions: Kind<AgentSandboxRevision> = clrkKind({
  kind: 'AgentSandboxRevision',
  plural: 'agentsandboxrevisions',
  short: 'asr',
  description: 'An immutable snapshot of the template of an agent, made by the controller, never by hand.',
  spec,
  status,
  columns: [
    { name: 'Image', type: 'string', path: '.spec.image' },
    { name: 'Digest', type: 'string', path: '.status.imageDigest', priority: 1 },
    { name: 'Ready Workers', type: 'integer', path: '.status.readyWorkers' },
    { name: 'Ready', type: 'string', path: '.status.conditions[?(@.type=="Ready")].status' },
    AGE,
  ],
});
