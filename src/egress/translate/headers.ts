/** Headers of ours on the way to the engine; an agent's own are dropped before routing, ours before the upstream. */
export const OWN_HEADERS = {
  id: 'x-clrk-id',
  source: 'x-clrk-source',
  destination: 'x-clrk-destination',
  route: 'x-clrk-route',
  /** The verdict a request waits for: the name of its cluster. */
  verdict: 'x-clrk-verdict',
} as const;

/** Of an answer of ours: the status a verdict asks for. It does not leave Envoy. */
export const STATUS_HEADER = 'x-clrk-status';
