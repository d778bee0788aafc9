import type { Case } from '../case.ts';
import { ask, ask2, CHAT, good, type Step } from '../steps.ts';
import { denied, table } from './build.ts';

const body = (model: string, change: Record<string, unknown> = {}): string => JSON.stringify({ ...good, model, ...change });
const chat = (model: string, change: Record<string, unknown> = {}): Step => ask({ body: body(model, change) });
const EXHAUSTED = { outcome: 'value', says: 'BudgetExhausted', withinMs: 30_000 } as const;
/** Cheap enough to get through before the budget of its model is used up. */
const before = (model: string): Case['twin'] => ({ attempt: { given: 'budget', steps: [chat(model)] }, expect: { outcome: 'http-status', statuses: [200] } });
const twin = before('gpt-4o-mini');

/** 400 tokens a day and model. What is reserved and what is used may never be more than that, so so many requests can leave. */
export default table('budgets', { given: 'budget', twin, alone: true }, [
  {
    name: 'parallel',
    what: 'Eight requests at once race for the last tokens, each asking for all of them.',
    steps: [{ crowd: { count: 8, step: chat('gpt-4.1-slow', { max_completion_tokens: 300 }) } }],
    expect: EXHAUSTED,
    canary: { name: 'provider', atMost: 1, with: ['gpt-4.1-slow'] },
  },
  {
    name: 'streams',
    what: 'Streams that do not ask for usage are counted.',
    steps: [{ repeat: { count: 40, step: chat('gpt-4.1-mini', { stream: true }) } }],
    expect: EXHAUSTED,
    canary: { name: 'provider', atMost: 34, with: ['gpt-4.1-mini'] },
  },
  {
    name: 'cut',
    what: 'Streams that the provider breaks off are counted.',
    steps: [{ repeat: { count: 12, step: chat('gpt-4.1-cut', { stream: true, max_completion_tokens: 60 }) } }],
    expect: EXHAUSTED,
    canary: { name: 'provider', atMost: 8, with: ['gpt-4.1-cut'] },
  },
  {
    name: 'choices',
    what: 'Many choices in one request share what is left.',
    steps: [chat('gpt-4o', { n: 100, max_completion_tokens: 300 })],
    expect: { outcome: 'http-status', statuses: [200, 400, 429] },
    canary: { name: 'provider', atMost: 1, without: ['max_completion_tokens\\\\":\\d{2}'] },
  },
  {
    name: 'unlimited',
    what: 'A request without a limit is given one that fits.',
    steps: [chat('gpt-4.1', { max_completion_tokens: undefined })],
    expect: { outcome: 'http-status', statuses: [200] },
    canary: { name: 'provider', with: ['max_completion_tokens\\\\":\\d{1,3}[,}]'] },
  },
  {
    name: 'large-prompt',
    what: 'A prompt that is larger than the budget.',
    steps: [chat('gpt-4o', { messages: [{ role: 'user', content: 'word '.repeat(2_000) }] })],
    expect: denied(429, 'BudgetExhausted'),
    record: { protocol: 'https', verdict: 'Denied', reason: 'BudgetExhausted' },
    canary: { name: 'provider' },
    slice: true,
  },
  {
    name: 'both-limits',
    what: 'Two limits: the greater one counts.',
    steps: [chat('gpt-4o', { max_tokens: 1, max_completion_tokens: 30_000, n: 20 })],
    expect: denied([400, 429]),
    canary: { name: 'provider', atMost: 1, without: ['max_completion_tokens\\\\":\\d{3}'] },
  },
  {
    name: 'negative',
    what: 'A negative limit.',
    steps: [chat('gpt-4o', { max_completion_tokens: -1_000 })],
    expect: denied(400),
    canary: { name: 'provider' },
  },
  {
    name: 'fraction',
    what: 'A number of choices that is a fraction.',
    steps: [chat('gpt-4o', { n: 0.001 })],
    expect: denied(400),
    canary: { name: 'provider' },
  },
  { name: 'text', what: 'A limit as text.', steps: [chat('gpt-4o', { max_completion_tokens: '1' })], expect: denied(400), canary: { name: 'provider' } },
  {
    name: 'other-endpoint',
    what: 'Another endpoint of the same provider.',
    steps: [ask({ path: '/v1/embeddings', body: JSON.stringify({ model: 'gpt-4o', input: 'x' }) })],
    expect: denied(403),
    canary: { name: 'provider' },
  },
  {
    name: 'responses',
    what: 'The same through the Responses endpoint.',
    steps: [ask({ path: '/v1/responses', body: JSON.stringify({ model: 'gpt-4o', input: 'x' }) })],
    expect: denied(403),
    canary: { name: 'provider' },
  },
  {
    name: 'model-twice',
    what: 'The model twice in one body.',
    steps: [ask({ body: body('gpt-4o').replace('{', '{"model":"gpt-4o-mini",') })],
    expect: denied(400),
    canary: { name: 'provider' },
  },
  {
    name: 'model-escaped',
    what: 'The model twice, one key with an escape.',
    steps: [ask({ body: body('gpt-4o').replace('{', '{"\\u006dodel":"gpt-4o-mini",') })],
    expect: denied(400),
    canary: { name: 'provider' },
  },
  {
    name: 'model-case',
    what: 'The model under a key in capitals.',
    steps: [ask({ body: body('gpt-4o').replace('{', '{"Model":"gpt-4o-mini",') })],
    expect: denied(400),
    canary: { name: 'provider' },
  },
  {
    name: 'compressed',
    what: 'A body that says it is compressed.',
    steps: [ask({ headers: ['content-type: application/json', 'content-encoding: gzip'], body: body('gpt-4o') })],
    expect: denied([400, 415]),
    canary: { name: 'provider' },
  },
  {
    name: 'content-type',
    what: 'A body of another type.',
    steps: [ask({ headers: ['content-type: text/plain'], body: body('gpt-4o') })],
    expect: denied([400, 415]),
    canary: { name: 'provider' },
  },
  { name: 'no-body', what: 'No body at all.', steps: [ask2({ body: '' })], expect: denied([400, 403, 411, 415]), canary: { name: 'provider' } },
  {
    name: 'query-model',
    what: 'Another model in the query.',
    steps: [ask({ path: `${CHAT}?model=gpt-4o-mini`, body: body('gpt-5') })],
    expect: denied(403, 'ModelNotAllowed'),
    canary: { name: 'provider' },
  },
]);
