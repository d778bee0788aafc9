import { AGE, clrkKind, GROUP, type FieldError, type Kind, type Resource } from '../kind.ts';
import { array, builtWhen, notBuilt, object, oneOf, string, type Infer, type Rule } from '../schema.ts';
import { parentRef, policyAncestors, secretRef, type ParentRef } from '../shared.ts';

const TARGET_KINDS = ['AIProviderRoute', 'MCPRoute', 'EgressGateway'];

const targets = (description: string) =>
  array(
    description,
    builtWhen(parentRef, ({ kind, sectionName }) => kind === 'AIProviderRoute' && !sectionName),
    { maxItems: 16 },
  );

/** `field` goes with `target`, and only with it. */
const only = (field: string, target: string): Rule[] => [
  {
    rule: `self.target != '${target}' || has(self.${field})`,
    message: `must be set when target is ${target}`,
    fieldPath: `.${field}`,
    reason: 'FieldValueRequired',
  },
  {
    rule: `self.target == '${target}' || !has(self.${field})`,
    message: `must not be set unless target is ${target}`,
    fieldPath: `.${field}`,
    reason: 'FieldValueForbidden',
  },
];

const spec = object(
  'Which credential goes where.',
  {
    secretRef,
    secretKey: string('Key in the Secret.', { default: 'token', maxLength: 253 }),
    target: builtWhen(oneOf('Where the value is put.', ['Header', 'QueryParam', 'ProviderAuth']), (value) => value === 'Header'),
  },
  {
    parentRefs: targets('Routes this policy applies to.'),
    targetRefs: targets('The same as parentRefs.'),
    headerName: string('Header to set, to the value as it is in the Secret.', { minLength: 1, maxLength: 256, pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" }),
    queryParamName: string('Query parameter to set.', { minLength: 1, maxLength: 256, built: () => false }),
    providerAuth: notBuilt('Signing of requests; not built yet.', 'object'),
  },
  { rules: [...only('headerName', 'Header'), ...only('queryParamName', 'QueryParam'), ...only('providerAuth', 'ProviderAuth')] },
);

const status = object('How the policy fares.', {}, { ancestors: policyAncestors });

export type CredentialInjectionPolicy = Resource<Infer<typeof spec>, Infer<typeof status>>;

const checkTarget = (field: string, target: ParentRef): FieldError[] => {
  const errors: FieldError[] = [];
  if (target.group && target.group !== GROUP) {
    errors.push({
      field: `${field}.group`,
      reason: 'FieldValueNotSupported',
      message: `Unsupported value: ${JSON.stringify(target.group)}: supported values: "${GROUP}"`,
    });
  }
  if (target.kind === undefined) errors.push({ field: `${field}.kind`, reason: 'FieldValueRequired', message: 'Required value' });
  else if (!TARGET_KINDS.includes(target.kind)) {
    const supported = TARGET_KINDS.map((kind) => JSON.stringify(kind)).join(', ');
    errors.push({
      field: `${field}.kind`,
      reason: 'FieldValueNotSupported',
      message: `Unsupported value: ${JSON.stringify(target.kind)}: supported values: ${supported}`,
    });
  }
  if (target.sectionName && target.kind !== 'AIProviderRoute') {
    errors.push({ field: `${field}.sectionName`, reason: 'FieldValueForbidden', message: 'Forbidden: only for kind AIProviderRoute' });
  }
  return errors;
};

const checkTargets = ({ spec: { parentRefs = [], targetRefs = [] } }: CredentialInjectionPolicy): FieldError[] =>
  parentRefs.length + targetRefs.length === 0
    ? [{ field: 'spec.parentRefs', reason: 'FieldValueRequired', message: 'Required value: at least one of parentRefs and targetRefs' }]
    : [
        ...parentRefs.flatMap((target, index) => checkTarget(`spec.parentRefs[${index}]`, target)),
        ...targetRefs.flatMap((target, index) => checkTarget(`spec.targetRefs[${index}]`, target)),
      ];

export const credentialInjectionPolicies: Kind<CredentialInjectionPolicy> = clrkKind({
  kind: 'CredentialInjectionPolicy',
  plural: 'credentialinjectionpolicies',
  short: 'cip',
  description: 'Puts the value of a Secret on outbound requests at the gateway, so that the agent never holds it.',
  spec,
  status,
  columns: [{ name: 'Target', type: 'string', path: '.spec.target' }, AGE],
  admission: checkTargets,
});
