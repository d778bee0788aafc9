import { AGE, clrkKind, type Kind, type Resource } from '../kind.ts';
import { object, unbuilt, type Infer } from '../schema.ts';
import { rateRequests, rateScope, rateWindow } from '../shared.ts';

const spec = unbuilt(object('How many requests in which time.', { requests: rateRequests, window: rateWindow, scope: rateScope }));

export type RateLimitPolicy = Resource<Infer<typeof spec>, never>;

/** Has no status of its own: routes that refer to it tell. */
export const rateLimitPolicies: Kind<RateLimitPolicy> = clrkKind({
  kind: 'RateLimitPolicy',
  plural: 'ratelimitpolicies',
  short: 'rlp',
  description: 'A cap on the rate of requests, for the routes whose filters refer to it.',
  spec,
  columns: [
    { name: 'Requests', type: 'integer', path: '.spec.requests' },
    { name: 'Window', type: 'string', path: '.spec.window' },
    { name: 'Scope', type: 'string', path: '.spec.scope' },
    AGE,
  ],
});
