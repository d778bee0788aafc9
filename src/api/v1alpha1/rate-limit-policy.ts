import { AGE, clrkKind, type Kind, type Resource } from '../kind.ts';
import { object, unbuilt, type Infer } from '../schema.ts';
import { conditions, rateRequests, rateScope, rateWindow } from '../shared.ts';

const spec = unbuilt(object('How many requests in which time.', { requests: rateRequests, window: rateWindow, scope: rateScope }));

const status = object('How the policy fares.', {}, { conditions });

export type RateLimitPolicy = Resource<Infer<typeof spec>, Infer<typeof status>>;

/** Applies where a filter of a route refers to it. */
export const rateLimitPolicies: Kind<RateLimitPolicy> = clrkKind({
  kind: 'RateLimitPolicy',
  plural: 'ratelimitpolicies',
  short: 'rlp',
  description: 'A cap on the rate of requests, for the routes whose filters refer to it.',
  spec,
  status,
  columns: [
    { name: 'Requests', type: 'integer', path: '.spec.requests' },
    { name: 'Window', type: 'string', path: '.spec.window' },
    { name: 'Scope', type: 'string', path: '.spec.scope' },
    { name: 'Accepted', type: 'string', path: '.status.conditions[?(@.type=="Accepted")].status', priority: 1 },
    AGE,
  ],
});
