import { AGE, clrkKind, type Kind, type Resource } from '../kind.ts';
import { array, bool, object, string, unbuilt, type Infer } from '../schema.ts';
import { conditions } from '../shared.ts';

const spec = unbuilt(
  object(
    'What is kept of requests.',
    {},
    {
      captureRequest: bool('Whether bodies of requests are kept; false when absent.'),
      captureResponse: bool('Whether bodies of responses are kept; false when absent.'),
      redactHeaders: array('Headers whose values are not kept, without case.', string('', { minLength: 1, maxLength: 256 }), { maxItems: 64 }),
      sinkRef: string('Has no effect: records are always kept here.', { maxLength: 253 }),
    },
  ),
);

const status = object('How the policy fares.', {}, { conditions });

export type LoggingPolicy = Resource<Infer<typeof spec>, Infer<typeof status>>;

/** Applies where a filter of a route refers to it. */
export const loggingPolicies: Kind<LoggingPolicy> = clrkKind({
  kind: 'LoggingPolicy',
  plural: 'loggingpolicies',
  short: 'lp',
  description: 'What is captured and redacted, for the routes whose filters refer to it.',
  spec,
  status,
  columns: [{ name: 'Accepted', type: 'string', path: '.status.conditions[?(@.type=="Accepted")].status', priority: 1 }, AGE],
});
