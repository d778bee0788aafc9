import { AGE, clrkKind, type Kind, type Resource } from '../kind.ts';
import { array, bool, builtWhen, object, oneOf, string, type Infer, type Rule } from '../schema.ts';
import { attachmentColumns, only, policyAncestors, policyParentRef, secretRef } from '../shared.ts';

const target = policyParentRef(
  ['AIProviderRoute', 'MCPRoute', 'EgressGateway'],
  [
    {
      rule: "self.kind == 'AIProviderRoute' || !has(self.sectionName) || self.sectionName == ''",
      message: 'only for kind AIProviderRoute',
      fieldPath: '.sectionName',
      reason: 'FieldValueForbidden',
    },
  ],
);

const targets = (description: string) =>
  array(
    description,
    builtWhen(target, ({ sectionName }) => !sectionName, 'without sectionName: a section is a Backend'),
    { maxItems: 16 },
  );

const attached: Rule = {
  rule: '(has(self.parentRefs) && size(self.parentRefs) > 0) || (has(self.targetRefs) && size(self.targetRefs) > 0)',
  message: 'at least one of parentRefs and targetRefs',
  fieldPath: '.parentRefs',
  reason: 'FieldValueRequired',
};

/** A status has room for so many. */
const told: Rule = {
  rule: '(has(self.parentRefs) ? size(self.parentRefs) : 0) + (has(self.targetRefs) ? size(self.targetRefs) : 0) <= 16',
  message: 'at most 16 in parentRefs and targetRefs together',
  fieldPath: '.targetRefs',
};

const ofAws = (field: string): Rule => ({
  rule: `self.type == 'AWSv4' || !has(self.${field})`,
  message: 'must not be set unless type is AWSv4',
  fieldPath: `.${field}`,
  reason: 'FieldValueForbidden',
});

const spec = object(
  'Which credential goes where.',
  {
    secretRef,
    secretKey: string('Key in the Secret; AWSv4 has keys of its own (access_key_id, secret_access_key, session_token).', { default: 'token', maxLength: 253 }),
    target: oneOf('Where the value is put.', ['Header', 'QueryParam', 'ProviderAuth']),
  },
  {
    parentRefs: targets('Routes this policy applies to.'),
    targetRefs: targets('The same as parentRefs.'),
    headerName: string('Header to set, to the value as it is in the Secret.', { minLength: 1, maxLength: 256, pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" }),
    queryParamName: string('Query parameter to set.', { minLength: 1, maxLength: 256 }),
    redactResponses: bool('Whether whole bodies of responses are searched for the value, and it is taken out; headers and bodies of errors always are.'),
    providerAuth: object(
      'How requests are signed.',
      { type: oneOf('AWSv4 signs each request with a key of AWS, GCPServiceAccount gets tokens for a service account.', ['AWSv4', 'GCPServiceAccount']) },
      {
        region: string('AWS region; taken from the host when absent. With AWSv4 only.', { minLength: 1, maxLength: 63 }),
        service: string('AWS service; bedrock when absent. With AWSv4 only.', { minLength: 1, maxLength: 63 }),
      },
      { rules: [ofAws('region'), ofAws('service')] },
    ),
  },
  {
    rules: [
      ...only('target', 'Header', 'headerName'),
      ...only('target', 'QueryParam', 'queryParamName'),
      ...only('target', 'ProviderAuth', 'providerAuth'),
      attached,
      told,
    ],
  },
);

const status = object('How the policy fares.', {}, { ancestors: policyAncestors });

export type CredentialInjectionPolicy = Resource<Infer<typeof spec>, Infer<typeof status>>;

export const credentialInjectionPolicies: Kind<CredentialInjectionPolicy> = clrkKind({
  kind: 'CredentialInjectionPolicy',
  plural: 'credentialinjectionpolicies',
  short: 'cip',
  description: 'Puts the value of a Secret on outbound requests at the gateway, so that the agent never holds it.',
  spec,
  status,
  columns: [{ name: 'Target', type: 'string', path: '.spec.target' }, ...attachmentColumns('ancestors'), AGE],
});
