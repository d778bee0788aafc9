import { SITE } from '../../fixtures/canary/places.ts';
import type { Attempt, Case, CaseClass, Expectation, Watch } from '../case.ts';
import { ask, http1, type Step } from '../steps.ts';
import type { VariantName } from '../variants.ts';

/** A row of a class: what is left out is said once for the table. */
export interface Row extends Omit<Case, 'id' | 'class' | 'attempt' | 'expect' | 'canary' | 'twin'> {
  readonly name: string;
  readonly given?: VariantName;
  readonly from?: Attempt['from'];
  readonly steps: readonly Step[];
  readonly judge?: number;
  readonly expect?: Expectation;
  readonly canary?: Watch;
  readonly twin?: Case['twin'];
}
export type Defaults = Partial<Omit<Row, 'name' | 'what' | 'steps'>>;

export const table = (of: CaseClass, defaults: Defaults, rows: readonly Row[]): readonly Case[] =>
  rows.map((row) => {
    const { name, given = 'ai', from, steps, judge, expect, canary, twin, ...rest } = { ...defaults, ...row };
    if (!expect || !twin || !canary) throw new Error(`${of}/${name}: expect, canary and twin are needed`);
    return {
      ...rest,
      id: `${of.replaceAll(' ', '-')}/${name}`,
      class: of,
      attempt: { given, ...(from ? { from } : {}), steps, ...(judge === undefined ? {} : { judge }) },
      expect,
      canary,
      twin,
    };
  });

// Expectations.
export const denied = (statuses: number | readonly number[] = 403, code?: string | readonly string[]): Expectation => ({
  outcome: 'http-status',
  statuses: [statuses].flat(),
  ...(code === undefined ? {} : { code }),
});
export const OK: Expectation = { outcome: 'http-status', statuses: [200] };
/** No TLS, no byte: closed at once, or in the handshake. */
export const CLOSED: Expectation = { outcome: ['closed', 'tls-refused'] };
/** Not even a connection that lasts. */
export const CUT: Expectation = { outcome: ['closed', 'refused'] };
export const ANSWERED: Expectation = { outcome: 'answer' };

/** What no chain takes. */
export const notAdmitted = (protocol: string | readonly string[] = ['tcp', 'tls']) =>
  ({ protocol, verdict: 'Denied', reason: ['NotAdmitted', 'NoRoute', 'ForbiddenAddress', 'HandshakeFailed'] }) as const;
export const refused = (reason: string | readonly string[], protocol: string | readonly string[] = 'https') =>
  ({ protocol, verdict: 'Denied', reason }) as const;
export const ALLOWED = { protocol: 'https', verdict: 'Allowed', reason: 'Allowed' } as const;

/** The provider, and a request it answers. */
export const PROVIDER: Watch = { name: 'provider' };
export const asked = (given: VariantName = 'ai'): Case['twin'] => ({
  attempt: { given, steps: [ask()] },
  expect: OK,
  sees: '{{token}}',
});

/** From the machine of the proxy, where nothing is between: the canary is there and sees. */
export const outside = (steps: readonly Step[], expect: Expectation = ANSWERED, sees?: string): Case['twin'] => ({
  attempt: { given: 'ai', from: 'outside', steps },
  expect,
  ...(sees === undefined ? {} : { sees }),
});

/** A request to a canary over TLS, by its address. */
export const siteRequest = (host: string, servername: string, address = SITE, port = 443): Step => ({
  tls: {
    host: address,
    port,
    servername,
    alpn: ['http/1.1'],
    script: [{ text: http1({ method: 'GET', path: '/{{token}}', host, body: '', headers: [] }) }],
    until: 'answer',
  },
});
