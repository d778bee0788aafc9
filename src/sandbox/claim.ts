import { messageOf, retry } from '#lib';
import type { Assignment, ClaimsPort } from '#model';
import type { AddressPair } from './addresses.ts';
import type { RunContext } from './context.ts';
import { Ending } from './ending.ts';

/** How long a run waits for an `egress` or a gateway that is not there yet. */
export const EGRESS_WAIT_MS = 10_000;
/** How long the end of a run is told to an `egress` that does not answer. */
const RELEASE_WAIT_MS = 5_000;

/** Binds an address to a run in `egress`; waits for one that is away, because it comes back by itself. Throws Ending. */
export const claim = async ({ claims }: RunContext, pair: AddressPair, assignment: Assignment, signal: AbortSignal): Promise<void> => {
  const limited = AbortSignal.any([signal, AbortSignal.timeout(EGRESS_WAIT_MS)]);
  const bind = (): ReturnType<ClaimsPort['bind']> => claims.bind(bindingOf(pair, assignment), limited);
  let last: unknown;
  const answer = await retry(bind, { signal: limited, onError: (error) => (last = error) }).catch((error: unknown) => {
    signal.throwIfAborted();
    throw new Ending(
      'Failed',
      'EgressUnavailable',
      `The worker's egress did not accept the sandbox within ${EGRESS_WAIT_MS / 1000} s: ${messageOf(last ?? error)}`,
    );
  });
  if (answer.refused) throw new Ending('Failed', answer.refused, answer.message);
};

/** The address belongs to the run no more, and nothing it opened stays open. */
export const release = async ({ claims, gateway, log }: RunContext, { sandbox }: AddressPair, invocation: string): Promise<void> => {
  await gateway.closeConnections(sandbox);
  const signal = AbortSignal.timeout(RELEASE_WAIT_MS);
  await retry(() => claims.release({ address: sandbox, invocation }), { signal }).catch((error: unknown) =>
    log.warn('egress did not hear of the end of a run', { invocation, err: error }),
  );
};

export const bindingOf = ({ block, sandbox }: AddressPair, { namespace, agent, invocation, traceId, spanId, gateways }: Assignment) => ({
  address: sandbox,
  block,
  namespace,
  agent,
  invocation,
  traceId,
  spanId,
  gateways,
});
