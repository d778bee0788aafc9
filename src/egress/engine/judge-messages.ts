import type { Decision } from '#model';
import { decided, metadataOf, type Known, type Recognised, type Verdict } from './known.ts';
import { checkMcpHead, readMcp } from './mcp.ts';
import { Refusal, type RequestHead } from './request.ts';

/** A request to an MCP server: each message in it is judged, and one that is refused is enough. Throws what refuses it. */
export const judgeMessages = (head: RequestHead, body: Uint8Array, { set, facts }: Recognised, known: Known): Verdict => {
  checkMcpHead(head);
  const request = readMcp(head, body);
  known.mcp = request;
  const served = request.messages.map((message) => ({ ...facts, mcp: message.facts }));
  const decisions = request.messages.map((message, index) => {
    known.message = message;
    if (message.problem !== undefined) throw new Refusal(400, 'InvalidParams', message.problem);
    return decided(set, served[index]!, known);
  });
  const [decision] = decisions as [Decision, ...Decision[]];
  // They leave together, with one credential.
  if (decisions.some(({ route }) => route !== decision.route)) throw new Refusal(403, 'MixedBatch', 'The messages of a batch must be for one route.');
  return {
    decision,
    served,
    reserved: false,
    ...(request.forwarded && { body: { bytes: request.forwarded } }),
    metadata: metadataOf('Allowed', 'Allowed', known),
  };
};
