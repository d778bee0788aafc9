import type { FieldError, Kind } from '#api';

/** Errors as Kubernetes answers them: `kind: Status`. Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/ */

export interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly uid?: string;
  readonly causes?: readonly { readonly reason?: string; readonly message?: string; readonly field?: string }[];
  readonly retryAfterSeconds?: number;
}

export class StatusError extends Error {
  readonly code: number;
  readonly reason: string;
  readonly details: StatusDetails | undefined;

  /** Of a list: where it can go on. */
  readonly continue: string | undefined;

  constructor(code: number, reason: string, message: string, details?: StatusDetails, next?: { readonly continue: string }) {
    super(message);
    this.name = 'StatusError';
    this.code = code;
    this.reason = reason;
    this.details = details;
    this.continue = next?.continue;
  }

  body(): object {
    return {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: this.continue === undefined ? {} : { continue: this.continue },
      status: 'Failure',
      message: this.message,
      ...(this.reason && { reason: this.reason }),
      ...(this.details && { details: this.details }),
      code: this.code,
    };
  }
}

/** What an error is about. */
export type Named = Pick<Kind, 'group' | 'plural'>;

export const resourceName = ({ group, plural }: Named): string => (group ? `${plural}.${group}` : plural);
const subject = (kind: Named, name: string): string => `${resourceName(kind)} ${JSON.stringify(name)}`;
const detailsOf = ({ group, plural }: Named, name: string): StatusDetails => ({ ...(name && { name }), ...(group && { group }), kind: plural });

export const badRequest = (message: string): StatusError => new StatusError(400, 'BadRequest', message);
export const unauthorized = (): StatusError => new StatusError(401, 'Unauthorized', 'Unauthorized');
export const notFound = (kind: Named, name: string): StatusError => new StatusError(404, 'NotFound', `${subject(kind, name)} not found`, detailsOf(kind, name));
export const methodNotAllowed = (): StatusError =>
  new StatusError(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource', {});
/** What is to replace an object does not say its name. */
export const nameMissing = (name: string): StatusError => badRequest(`the name of the object (${name} based on URL) was undeterminable: name must be provided`);
/** The resource is there, and does not have the verb. */
export const verbNotSupported = (kind: Named, verb: string): StatusError =>
  new StatusError(405, 'MethodNotAllowed', `${verb} is not supported on resources of kind ${JSON.stringify(resourceName(kind))}`, {
    ...(kind.group && { group: kind.group }),
    kind: kind.plural,
  });
export const alreadyExists = (kind: Named, name: string): StatusError =>
  new StatusError(409, 'AlreadyExists', `${subject(kind, name)} already exists`, detailsOf(kind, name));
export const conflict = (kind: Named, name: string, why: string): StatusError =>
  new StatusError(409, 'Conflict', `Operation cannot be fulfilled on ${subject(kind, name)}: ${why}`, detailsOf(kind, name));
export const staleVersion = (kind: Named, name: string): StatusError =>
  conflict(kind, name, 'the object has been modified; please apply your changes to the latest version and try again');
export const forbidden = (kind: Named, name: string, why: string): StatusError =>
  new StatusError(403, 'Forbidden', `${name ? subject(kind, name) : resourceName(kind)} is forbidden: ${why}`, detailsOf(kind, name));
export const expired = (message: string, next?: { readonly continue: string }): StatusError => new StatusError(410, 'Expired', message, undefined, next);
export const tooLarge = (limit: number): StatusError => new StatusError(413, 'RequestEntityTooLarge', `Request entity too large: limit is ${limit}`);
export const unsupportedMedia = (accepted: readonly string[]): StatusError =>
  new StatusError(415, 'UnsupportedMediaType', `the body of the request was in an unknown format - accepted media types include: ${accepted.join(', ')}`);
export const notAcceptable = (): StatusError =>
  new StatusError(406, 'NotAcceptable', 'only the following media types are accepted: application/json, application/yaml');
export const versionTooLarge = (asked: string, current: string): StatusError =>
  new StatusError(504, 'Timeout', `Timeout: Too large resource version: ${asked}, current: ${current}`, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  });

/** More errors of one object than this are only counted. */
const MAX_ERRORS = 100;

const sentence = (errors: readonly FieldError[]): string => {
  const parts = errors.slice(0, MAX_ERRORS).map(({ field, message }) => `${field}: ${message}`);
  if (errors.length > MAX_ERRORS) parts.push(`and ${errors.length - MAX_ERRORS} more errors`);
  return parts.length === 1 ? parts[0]! : `[${parts.join(', ')}]`;
};

/** 422 with every violated rule; `details.kind` is the Kind. */
export const invalid = (kind: Pick<Kind, 'group' | 'kind'>, name: string, errors: readonly FieldError[]): StatusError =>
  new StatusError(422, 'Invalid', `${kind.group ? `${kind.kind}.${kind.group}` : kind.kind} ${JSON.stringify(name)} is invalid: ${sentence(errors)}`, {
    ...(name && { name }),
    ...(kind.group && { group: kind.group }),
    kind: kind.kind,
    causes: errors.slice(0, MAX_ERRORS).map(({ reason, message, field }) => ({ reason, message, field })),
  });

export type OptionsKind = 'CreateOptions' | 'UpdateOptions' | 'PatchOptions' | 'DeleteOptions' | 'ListOptions';

/** 422 about options of the request itself. */
export const invalidOptions = (options: OptionsKind, errors: readonly FieldError[]): StatusError =>
  invalid({ group: 'meta.k8s.io', kind: options }, '', errors);
export const invalidOption = (options: OptionsKind, error: FieldError): StatusError => invalidOptions(options, [error]);
