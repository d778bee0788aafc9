import type { RefusalBody } from '#policy';
import type { McpRequest } from './mcp.ts';

/** JSON-RPC codes of refusals that a client hears of as the failure of its request. Others are failures of HTTP. */
const CODES: Readonly<Record<string, number>> = {
  ToolNotAllowed: -32_001,
  ResourceNotAllowed: -32_001,
  NotBuilt: -32_001,
  McpMethodNotAllowed: -32_601,
  InvalidParams: -32_602,
};

/**
 * The answer to refused messages: an error for each request among them, all with the reason of the one that was refused, because none was
 * sent. Undefined when there is no request to answer, or when it is no matter of the message.
 */
export const mcpAnswer = ({ messages, batch }: McpRequest, refusal: RefusalBody): string | undefined => {
  const code = CODES[refusal.code];
  if (code === undefined) return undefined;
  const answers = messages.flatMap(({ id }) => (id === undefined ? [] : [{ jsonrpc: '2.0', id, error: { code, message: refusal.message, data: refusal } }]));
  if (answers.length === 0) return undefined;
  return JSON.stringify(batch ? answers : answers[0]);
};
