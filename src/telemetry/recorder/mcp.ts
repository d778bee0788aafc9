import type { EngineMetadata, ExchangeRecord } from '#model';
import { redact } from './redact.ts';

/** What the record of a request to an MCP server says. All of it is text of the agent, so it is redacted here. */
export const mcpOf = (engine: EngineMetadata | undefined): Pick<ExchangeRecord, 'mcpMethod' | 'mcpSession' | 'mcpProtocol' | 'tool' | 'mcpResource'> => {
  const { method = '', tool = '', resource = '', session = '', protocol = '' } = engine?.mcp ?? {};
  return { mcpMethod: redact(method), tool: redact(tool), mcpResource: redact(resource), mcpSession: redact(session), mcpProtocol: redact(protocol) };
};
