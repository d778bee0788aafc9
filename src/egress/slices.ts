/**
 * Addresses and ports of gateways, by their index on this worker. Gateway i owns the /20 at 198.18.0.0/15 + i * 4096:
 * the lower /21 for names its routes admit, the upper /21 for names it denies. The last /20 holds the reserved addresses.
 */

/** Gateways one worker can serve. */
export const MAX_GATEWAYS = 31;
/** Addresses of a /21 that stand for names: neither the first nor the last. */
export const NAMES_PER_SLICE = 2046;

/** 198.18.0.0/15: all slices, and the reserved addresses. */
export const SLICES = { from: 0xc612_0000, to: 0xc613_ffff } as const;
const BASE = SLICES.from;
const FIRST_PORT = 15_001;
const FIRST_UNCLAIMED_PORT = 15_101;
const FIRST_RAW_PORT = 15_201;
const FIRST_FLOODED_PORT = 15_301;
/** Ports of the gateway namespace on which datagrams are relayed, one for each (gateway, address, port). */
export const UDP_PORTS = { from: 20_000, to: 29_999 } as const;

export const formatIp = (value: number): string => [24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff).join('.');

export interface Slice {
  /** Both halves, for the map of the gateway namespace. */
  readonly all: string;
  readonly admitted: string;
  readonly denied: string;
  /** Where the gateway's Envoy listens in the gateway namespace. */
  readonly port: number;
  /** Where it refuses and records the connections of sandboxes that have no run yet. */
  readonly unclaimedPort: number;
  /** Where it refuses and records those of sandboxes that try too many destinations. */
  readonly floodedPort: number;
  /** Where it takes connections whose first bytes nobody needs to see: only a tcp listener can have them. */
  readonly rawPort: number;
}

export const sliceOf = (index: number): Slice => {
  const start = BASE + index * 4096;
  return {
    all: `${formatIp(start)}/20`,
    admitted: `${formatIp(start)}/21`,
    denied: `${formatIp(start + 2048)}/21`,
    port: FIRST_PORT + index,
    unclaimedPort: FIRST_UNCLAIMED_PORT + index,
    floodedPort: FIRST_FLOODED_PORT + index,
    rawPort: FIRST_RAW_PORT + index,
  };
};

/** Whether an address is one of a gateway's that stand for names it admits. */
export const isInSlice = (index: number, address: string): boolean => {
  const value = address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  const start = BASE + index * 4096;
  return value >= start && value < start + 2048;
};

/** The address of slot `slot` (0 to NAMES_PER_SLICE - 1) of a half of a slice. */
export const slotAddress = (index: number, half: 'admitted' | 'denied', slot: number): string =>
  formatIp(BASE + index * 4096 + (half === 'denied' ? 2048 : 0) + 1 + slot);

/** A dotted IPv4 address as a number. */
export const ipNumber = (address: string): number => address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);

/** The slot of an address in the admitted half of a gateway's slice. */
export const slotOf = (index: number, address: string): number | undefined => {
  const slot = ipNumber(address) - (BASE + index * 4096) - 1;
  return slot >= 0 && slot < NAMES_PER_SLICE ? slot : undefined;
};

/** Names that mean the same in every sandbox. */
export const RESERVED_NAMES: Readonly<Record<string, string>> = {
  'metadata.clrk.internal': '198.19.255.1',
  'otlp.clrk.internal': '198.19.255.2',
};
