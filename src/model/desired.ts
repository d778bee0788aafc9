import type { RunTemplate } from './run.ts';

/** Desired state that controllers hand to workers and their egress, and the reports that come back. */

/** An agent revision that a worker should be able to run. */
export interface DesiredRevision {
  /** What runs of it are made of, but for gateways: those are no part of a revision. */
  readonly template: RunTemplate;
  /** A sandbox of it has started before, on this worker or another. */
  readonly proven: boolean;
}

export interface GatewayRoot {
  /** `namespace/name`. */
  readonly gateway: string;
  /** The root certificates sandboxes trust, each as PEM: the one in force, and before or after a change of it another one. */
  readonly rootPems: readonly string[];
}

/** Sandboxes of a worker that trust the same roots of a gateway. What a sandbox trusts is fixed when it is made. */
export interface TrustState {
  /** `namespace/name`. */
  readonly gateway: string;
  /** SHA-256 of each certificate, in hex. */
  readonly roots: readonly string[];
  /** How many have them; those that are being made count. */
  readonly sandboxes: number;
  /** Sandboxes made from now on trust these. */
  readonly current: boolean;
}

/** Sandboxes a worker should have started ahead of their runs. */
export interface WarmTarget {
  readonly template: RunTemplate;
  readonly size: number;
  /** Age in milliseconds at which an idle one is replaced. */
  readonly idleTtlMs: number;
}

/** Everything one worker should have, always whole. */
export interface WorkerDesired {
  readonly revisions: readonly DesiredRevision[];
  readonly gateways: readonly GatewayRoot[];
  /** At most one for an agent. */
  readonly warm: readonly WarmTarget[];
}

/** How far a worker is with one WarmTarget. */
export interface WarmState {
  /** Agent and revision, `namespace/name`. */
  readonly agent: string;
  readonly revision: string;
  /** Sandboxes whose process waits for its event. */
  readonly ready: number;
  readonly wanted: number;
  /** Why some are missing, `StartsBeforeEvent` or what a run would end with; empty while nothing is wrong. */
  readonly reason: string;
  readonly message: string;
}

export interface ImageState {
  /** Revision, `namespace/name`. */
  readonly revision: string;
  /** The image is unpacked here, and a sandbox of it starts. */
  readonly ready: boolean;
  /** Manifest digest of the image that is unpacked; empty when none is. */
  readonly digest: string;
  /** Why not, when not ready: `ImageNotFound`, `ImageInvalid`, `StartFailed`, … */
  readonly reason: string;
  readonly message: string;
}

/** A worker's heartbeat, always whole. */
export interface WorkerReport {
  readonly worker: string;
  readonly pool: string;
  readonly maxExecutions: number;
  readonly activeExecutions: number;
  readonly images: readonly ImageState[];
  /** It takes no new runs and ends when those it has have ended. */
  readonly draining: boolean;
  readonly warm: readonly WarmState[];
  readonly trust: readonly TrustState[];
}

/** One credential value, referred to by name in PolicySets; travels only here and to Envoy by SDS. */
export interface CredentialValue {
  /** `cred:<namespace>/<policy>`. */
  readonly name: string;
  /**
   * As it is in the Secret. Of AWSv4: JSON of `AwsKey`. Of GCPServiceAccount: JSON of `ServiceAccountKey`.
   */
  readonly value: string;
}

export interface AwsKey {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

export interface ServiceAccountKey {
  readonly email: string;
  /** PEM of an RSA key. */
  readonly privateKey: string;
  readonly privateKeyId?: string;
  /** Where tokens are asked for, an https URL. */
  readonly tokenUri: string;
}

/** One gateway as an `egress` should serve it. */
export interface DesiredGateway {
  /** `namespace/name`. */
  readonly gateway: string;
  /** JSON of a PolicySet (model/policy-set.ts); its `revision` is the hash of its content. */
  readonly policySet: string;
  /** The root above the signing certificate. */
  readonly rootPem: string;
  /** This egress's own signing certificate, followed by the chain up to below the root, and its PKCS#8 key. */
  readonly intermediatePem: string;
  readonly intermediateKeyPem: string;
  readonly credentials: readonly CredentialValue[];
}

/** Everything one egress should serve, always whole. */
export interface EgressDesired {
  readonly gateways: readonly DesiredGateway[];
}

/** A credential whose Secret is fine, and that cannot be injected all the same: `TokenPending`, `TokenRefused`, `TokenUnavailable`. */
export interface UnavailableCredential {
  /** `cred:<namespace>/<policy>` */
  readonly credential: string;
  readonly reason: string;
}

export interface GatewayState {
  readonly gateway: string;
  /** Revision Envoy has acknowledged in full; empty before the first. */
  readonly revision: string;
  /** When, in milliseconds since the epoch. */
  readonly since: number;
  /** SHA-256, in hex, of the root above what new leaves are signed with; absent before the first. */
  readonly root?: string;
  /** Why the wanted revision is not in force: Envoy's rejection, or that Envoy does not run. Empty when it is. */
  readonly error: string;
  readonly unavailable?: readonly UnavailableCredential[];
}

export interface EgressReport {
  readonly worker: string;
  readonly gateways: readonly GatewayState[];
}

/** How many workers `clrk dev` should run for each pool. */
export interface WorkersWanted {
  readonly pools: readonly { readonly pool: string; readonly replicas: number }[];
}
