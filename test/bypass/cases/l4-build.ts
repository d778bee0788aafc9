import { PORTS, SITE } from '../../fixtures/canary/places.ts';
import type { Case, Expectation } from '../case.ts';
import { http1, over, tcp, type Step } from '../steps.ts';
import type { VariantName } from '../variants.ts';
import { ANSWERED, OK } from './build.ts';

/** What cases about routes to destinations (by host, address and port) have in common. */

export const SEEN = { name: 'site' } as const;
export const get = (host: string, path = '/{{token}}'): string => http1({ method: 'GET', path, host, body: '', headers: [] });
/** A request by name over TLS. */
export const request = (name: string, port = 443): Step => over(get(name), { host: name, port });
export const udp = (host: string, port: number): Step => ({ udp: { host, port, text: '{{token}}' } });
export const hello = (host: string, servername: string, more: object = {}): Step => ({ hello: { host, port: 443, servername, ...more } });
export const record = (reason: string | readonly string[], protocol?: string | readonly string[]) =>
  ({ verdict: 'Denied', reason, ...(protocol ? { protocol } : {}) }) as const;
export const anyDenial = record([
  'NoRoute',
  'NotAdmitted',
  'HandshakeFailed',
  'BadRequest',
  'AddressMismatch',
  'HostMismatch',
  'ServerNameMismatch',
  'ForbiddenAddress',
  'DeniedByPolicy',
]);
export const through = (given: VariantName, step: Step, expect: Expectation = OK): Case['twin'] => ({ attempt: { given, steps: [step] }, expect });
export const BLOCKED: Expectation = { outcome: ['http-status', 'closed', 'tls-refused', 'refused'], statuses: [403, 421, 502, 503] };

export const named = through('names', request('allowed.test'));
export const byAddress = through('tcp', tcp(SITE, PORTS.echo), ANSWERED);

export const peek = through('passthrough', hello('allowed.test', 'allowed.test'), ANSWERED);
