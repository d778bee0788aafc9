import { randomUUID } from 'node:crypto';
import type { Binding, EgressLine, Parking } from '#model';

/** A packet of a sandbox that the gateway namespace answered itself, as the worker tells of it. */
export interface RefusedPacket {
  readonly source: string;
  /** `udp`, `icmp`, `tcp`, … */
  readonly protocol: string;
  readonly destination: string;
  /** 0 where the protocol has none. */
  readonly port: number;
  readonly time: number;
}

/** The record of a refused packet. A synthetic address says which name was meant: `nameOf` of one of the sandbox's gateways. */
export const refusedPacketLine = (
  { source, protocol, destination, port, time }: RefusedPacket,
  known: {
    /** Of the run that had the source then. */
    readonly binding: Binding | undefined;
    readonly parked: Parking | undefined;
    readonly nameOf: (gateway: string, address: string) => string | undefined;
  },
): EgressLine => {
  const { gateways } = known.binding ?? known.parked ?? { gateways: [] };
  const gateway = gateways.find((name) => known.nameOf(name, destination) !== undefined) ?? gateways[0] ?? '';
  return {
    event: 'refused-packet',
    time,
    id: randomUUID(),
    gateway,
    source,
    host: known.nameOf(gateway, destination) ?? '',
    protocol,
    destination: port === 0 ? destination : `${destination}:${port}`,
    verdict: 'Denied',
    reason: known.binding ? 'NotAdmitted' : 'NotClaimed',
  };
};
