import { isIP } from 'node:net';

/** Whether a text is a range of addresses, IPv4 or IPv6, or one address alone (`10.40.0.0/16`, `2001:db8::1`). No zone, no leading zero. */
export const isCidr = (text: string): boolean => {
  const [address = '', length, ...more] = text.split('/');
  const family = isIP(address);
  if (family === 0 || more.length > 0 || address.includes('%')) return false;
  return length === undefined || (/^(0|[1-9]\d{0,2})$/.test(length) && Number(length) <= (family === 4 ? 32 : 128));
};
