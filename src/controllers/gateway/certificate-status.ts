import { fingerprintOf, kubeTime } from '#lib';
import type { Finding } from '../status.ts';
import { RENEW_BEFORE } from './ca-store.ts';
import type { GatewayPlan } from './plans.ts';

const short = (pem: string): string => `${fingerprintOf(pem).slice(0, 16)}…`;

/** Condition `CertificateRotating` of a gateway: whether a change of its root is under way, and what it waits for. */
export const certificateState = ({ certificate }: GatewayPlan, now: number): readonly Finding[] => {
  if (!certificate) return [];
  const { rootPem, notAfter, rotation } = certificate;
  const finding = (status: 'True' | 'False', reason: string, message: string): readonly Finding[] => [{ type: 'CertificateRotating', status, reason, message }];
  if (rotation?.phase === 'Trusting') {
    const { sandboxes } = rotation;
    const older = sandboxes > 0 ? `${sandboxes} older ${sandboxes === 1 ? 'sandbox trusts' : 'sandboxes trust'} only the old one` : 'not confirmed yet';
    const message = `New sandboxes trust the new root ${short(rotation.to)} and the old one, ${short(rootPem)}, which signs until everybody trusts the new one: ${older} (${rotation.who.join(', ')}).`;
    return finding('True', 'NewRootTrusted', message);
  }
  if (rotation) {
    const message = `The new root ${short(rotation.to)} signs; the old one is trusted until every egress has taken it (${rotation.who.join(', ')}).`;
    return finding('True', 'NewRootSigning', message);
  }
  if (notAfter - now < RENEW_BEFORE)
    return finding('False', 'RootExpiring', `Root ${short(rootPem)} signs until ${kubeTime(notAfter)}: put a new authority into its Secret before.`);
  return finding('False', 'RootInForce', `Root ${fingerprintOf(rootPem)} (SHA-256) signs, until ${kubeTime(notAfter)} at most.`);
};
