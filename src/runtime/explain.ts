import { RUNTIME_GROUP, VERSION, type ExtraRequest, type ExtraResource, type KubeObject } from '#api';
import type { Explanation, ExplainPort, ExplainQuestion } from '#model';
import { failure } from './failure.ts';

/** An explanation with the metadata every object of the API has. */
export type ExplanationObject = KubeObject & Explanation;

const CODES = { BadRequest: 400, NotFound: 404, ServiceUnavailable: 503 } as const;
const PARAMETERS = ['method', 'url', 'protocol', 'destination', 'sni', 'model', 'mcpMethod', 'tool', 'resource'] as const;
/** Nothing an agent can send is longer. */
const MAX_LENGTH = 8_192;

/** The question of a request, or what is wrong with it. */
const parse = ({ namespace, name, query }: ExtraRequest): ExplainQuestion | string => {
  const given = Object.fromEntries(PARAMETERS.flatMap((key) => (query.has(key) ? [[key, query.get(key)!]] : []))) as Partial<ExplainQuestion>;
  const long = PARAMETERS.find((key) => (given[key] ?? '').length > MAX_LENGTH);
  if (long) return `${long} is longer than ${MAX_LENGTH} characters`;
  if ((given.url === undefined) === (given.destination === undefined))
    return 'ask with method and url (?method=GET&url=https://example.com/), or with protocol and destination (?protocol=tcp&destination=db.example.com:5432)';
  return { namespace, agent: name, ...given };
};

/**
 * `GET explain/AGENT`: what the gateways of an agent would decide, as an Explanation. `?method=&url=&model=&sni=&mcpMethod=&tool=&resource=`, or
 * `?protocol=&destination=&sni=`. Nothing is sent or recorded.
 */
export const explainResource = (port: ExplainPort): ExtraResource => ({
  name: 'explain',
  singular: 'explain',
  kind: 'Explanation',
  namespaced: true,
  shortNames: [],
  verbs: ['get'],
  async handle(request) {
    const question = parse(request);
    if (typeof question === 'string') return failure(400, 'BadRequest', question);
    const answer = await port.explain(question);
    if ('refusal' in answer) return failure(CODES[answer.refusal.reason], answer.refusal.reason, answer.refusal.message);
    const { namespace, agent } = question;
    const object: ExplanationObject = {
      apiVersion: `${RUNTIME_GROUP}/${VERSION}`,
      kind: 'Explanation',
      metadata: { name: agent, namespace },
      ...answer.explanation,
    };
    return { object };
  },
});
