import { AGE, clrkKind, type Kind, type Resource } from '../kind.ts';
import { array, int32, object, string, type Infer } from '../schema.ts';
import { attachmentColumns, policyAncestors, policyTargetRef } from '../shared.ts';

const target = policyTargetRef(['AIProviderRoute', 'MCPRoute', 'EgressL4Route']);
export type PolicyTargetRef = Infer<typeof target>;

const spec = object(
  'What is denied, and how.',
  {},
  {
    targetRef: target,
    targetRefs: array('The same for several.', target, { maxItems: 16 }),
    denyResponse: object(
      'What is answered where the denied traffic is HTTP.',
      { statusCode: int32('HTTP status.', { minimum: 400, maximum: 599, default: 403 }) },
      { message: string('Why, for the caller.', { maxLength: 4096 }) },
    ),
  },
  {
    rules: [
      { rule: 'has(self.targetRef) != has(self.targetRefs)', message: 'exactly one of targetRef and targetRefs must be set' },
      { rule: '!has(self.targetRefs) || size(self.targetRefs) > 0', message: 'at least one target', fieldPath: '.targetRefs', reason: 'FieldValueRequired' },
    ],
  },
);

const status = object('How the policy fares.', {}, { ancestors: policyAncestors });

export type EgressDenyPolicy = Resource<Infer<typeof spec>, Infer<typeof status>>;

export const egressDenyPolicies: Kind<EgressDenyPolicy> = clrkKind({
  kind: 'EgressDenyPolicy',
  plural: 'egressdenypolicies',
  short: 'edp',
  description: 'Denies what a route lets through, without deleting the route.',
  spec,
  status,
  columns: [...attachmentColumns('ancestors'), AGE],
});
