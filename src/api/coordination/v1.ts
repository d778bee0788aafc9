import { AGE, type FieldError, type Kind, type KubeObject } from '../kind.ts';
import { int32, object, string, time, type Infer } from '../schema.ts';

/** Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/lease-v1/ */

const spec = object(
  'Who holds the lease.',
  {},
  {
    holderIdentity: string('Who holds it.'),
    leaseDurationSeconds: int32('How long others wait after the last renewal.'),
    acquireTime: time('When the holder got it.'),
    renewTime: time('When the holder last renewed it.'),
    leaseTransitions: int32('How often it changed hands.'),
    strategy: string('How a holder is chosen.'),
    preferredHolder: string('Who should have it next.'),
  },
);

export type Lease = KubeObject & { readonly spec?: Infer<typeof spec> };

const atLeast = (field: string, value: number | undefined, least: number, why: string): FieldError[] =>
  value === undefined || value >= least ? [] : [{ field, reason: 'FieldValueInvalid', message: `Invalid value: ${value}: ${why}` }];

export const leases: Kind<Lease> = {
  group: 'coordination.k8s.io',
  version: 'v1',
  native: true,
  kind: 'Lease',
  plural: 'leases',
  singular: 'lease',
  shortNames: [],
  namespaced: true,
  description: 'A claim that one of several holds for a time.',
  schema: { type: 'object', description: 'A claim that one of several holds for a time.', properties: { spec } },
  columns: [{ name: 'Holder', type: 'string', path: '.spec.holderIdentity' }, AGE],
  subresources: {},
  admission: ({ spec: { leaseDurationSeconds, leaseTransitions } = {} }) => [
    ...atLeast('spec.leaseDurationSeconds', leaseDurationSeconds, 1, 'must be greater than 0'),
    ...atLeast('spec.leaseTransitions', leaseTransitions, 0, 'must be greater than or equal to 0'),
  ],
};
