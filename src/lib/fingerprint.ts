import { createHash } from 'node:crypto';

/** SHA-256 of a certificate in PEM, in hex: how people compare certificates (`openssl x509 -fingerprint -sha256`). */
export const fingerprintOf = (certPem: string): string =>
  createHash('sha256')
    .update(Buffer.from(certPem.replaceAll(/-----[^-]+-----/g, ''), 'base64'))
    .digest('hex');
