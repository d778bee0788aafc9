import type { Binding, ClaimsPort, Parking } from '#model';
import { Claims, connect } from '#wire';

/** How long `egress` has to take note of the end of a run. */
const RELEASE_MS = 2_000;

/** `egress` by its socket. */
export const connectClaims = (socket: string): ClaimsPort & { close(): void } => {
  const client = connect(Claims, socket);
  return {
    bind: (binding, signal) => client.bind(mutable(binding), { signal }),
    park: (parking, binding, signal) => client.park(messages(parking, binding), { signal }),
    release: async (binding) => void (await client.release(binding, { timeoutMs: RELEASE_MS })),
    close: () => client.close(),
  };
};

/** Messages of the wire have mutable lists. */
const mutable = <P extends Parking>(parking: P) => ({ ...parking, gateways: [...parking.gateways] });

/** Never ends: the end of the stream gives up what is parked. */
async function* messages(parking: Parking, binding: Promise<Binding>) {
  yield { message: { case: 'park' as const, value: mutable(parking) } };
  yield { message: { case: 'bind' as const, value: mutable(await binding) } };
  await new Promise(() => {});
}
