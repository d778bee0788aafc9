/** A namespace (RFC 1123 label) and an agent (RFC 1123 subdomain). */
const NAMESPACE = '[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?';
const AGENT = '[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?';
const PATH = new RegExp(`^/(${NAMESPACE})/(${AGENT})(?:\\?.*)?$`);
const ROOT = /^\/(?:\?.*)?$/;
const VALUE = new RegExp(`^(${NAMESPACE})/(${AGENT})$`);

export interface Target {
  readonly namespace: string;
  readonly agent: string;
}

/** Why a request names no agent; `PathNotFound` when its path is no place where agents are. */
export interface NoTarget {
  readonly reason: 'PathNotFound' | 'TargetMissing' | 'TargetInvalid' | 'TargetMismatch';
  readonly message: string;
}

export const TARGET_HEADER = 'x-clrk-taskagent';

/** Whether agents are triggered at this request target, whatever the request says further. */
export const isTriggerPath = (url: string): boolean => PATH.test(url) || ROOT.test(url);

/** The agent a request means: by its path `/NAMESPACE/AGENT`, or at `/` by its header. Where both are given they must agree. */
export const targetOf = (url: string, header: readonly string[] = []): Target | NoTarget => {
  const path = PATH.exec(url);
  if (!path && !ROOT.test(url)) return { reason: 'PathNotFound', message: '' };
  if (header.length === 0) {
    if (path) return { namespace: path[1]!, agent: path[2]! };
    return { reason: 'TargetMissing', message: 'No agent is named. Send POST /NAMESPACE/AGENT, or POST / with the header X-Clrk-TaskAgent: NAMESPACE/AGENT.' };
  }
  const named = header.length === 1 ? VALUE.exec(header[0]!) : null;
  if (!named) return { reason: 'TargetInvalid', message: 'X-Clrk-TaskAgent must be given once and have the form NAMESPACE/AGENT, in lower case.' };
  if (path && (path[1] !== named[1] || path[2] !== named[2])) {
    return { reason: 'TargetMismatch', message: `The path names ${path[1]}/${path[2]}, X-Clrk-TaskAgent names ${named[0]}. Send only one of them.` };
  }
  return { namespace: named[1]!, agent: named[2]! };
};
