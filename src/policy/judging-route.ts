import type { AIProviderRoute, MCPRoute } from '#api';
import type { AiRoute, CredentialValue, McpRoute } from '#model';
import { createdAt, keyOf, no, withRemarks, type ConditionState } from './attach.ts';
import type { CompiledRoute, CompileInput } from './compile.ts';
import type { Attachment } from './attach-listeners.ts';
import { credentialClaims, credentialOn } from './credentials.ts';
import { denialOn, type Denials } from './deny.ts';

/** What routes that judge each request are compiled to alike. */

interface Judged {
  readonly resolvedRefs: ConditionState;
  /** Why no request to their hosts comes to the listeners they are attached to. */
  readonly elsewhere: string | undefined;
  readonly remarks: { readonly text: string; readonly nothing: boolean };
}

type Kind = 'AIProviderRoute' | 'MCPRoute';

export const judgingState = (
  kind: Kind,
  route: AIProviderRoute | MCPRoute,
  { parents }: Attachment,
  { resolvedRefs, elsewhere, remarks: { text, nothing } }: Judged,
): CompiledRoute => ({
  kind,
  key: keyOf(route),
  parents: parents.map(({ parentRef, accepted }) => ({
    parentRef,
    accepted: accepted.status === 'True' && elsewhere ? no('NoMatchingParent', elsewhere) : withRemarks(accepted, text, nothing),
    resolvedRefs,
  })),
});

/** What a route injects, and what refuses all of it; `credentials` has the values of those that were asked for. */
export const judgingBasis = (kind: Kind, { gateway, credentialPolicies, secret }: CompileInput, denials: Denials) => {
  const claims = credentialClaims(credentialPolicies);
  const values = new Map<string, string>();
  return {
    basisOf(route: AIProviderRoute | MCPRoute, { listeners }: Attachment): Omit<AiRoute & McpRoute, 'rules' | 'hosts' | 'places'> {
      const credential = credentialOn(kind, route, keyOf(gateway), claims, secret);
      if (credential?.value !== undefined) values.set(credential.use.credential, credential.value);
      const denied = denialOn(kind, route, denials);
      return { route: keyOf(route), createdAt: createdAt(route), listeners, ...(credential && { credential: credential.use }), ...(denied && { denied }) };
    },
    credentials: (): readonly CredentialValue[] => [...values].map(([name, value]) => ({ name, value })),
  };
};
