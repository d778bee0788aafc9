import type { ExchangeRecord, StoredLog } from '#model';

/**
 * The one description of the tables: DDL, rows, OpenTelemetry attribute names and the reference page all come from here. Adding a column is adding a line (a store adds it to its table at the next start); never change the type of one.
 * Attribute names: OpenTelemetry semantic conventions 1.45, ours under `clrk.`; token counts in both spellings in use.
 */
export interface Column<Field extends string = string> {
  /** Column name in ClickHouse. */
  readonly name: string;
  /** ClickHouse type, with its DEFAULT where rows do not carry the column. */
  readonly type: string;
  /** Field of the record it holds; none = the table fills it. */
  readonly field?: Field;
  /** OpenTelemetry attributes that carry the value. */
  readonly attributes: readonly string[];
  readonly description: string;
}

export const EXCHANGE_COLUMNS: readonly Column<keyof ExchangeRecord>[] = [
  exchange('decisionId', 'String', ['clrk.decision.id'], 'Decision id, the key of the record: the same id is the same record.'),
  exchange('time', "DateTime64(3, 'UTC')", [], 'When the request, connection or question began.'),
  exchange('namespace', 'LowCardinality(String)', ['agent.namespace'], 'Namespace of the agent.'),
  exchange('agent', 'LowCardinality(String)', ['agent.name'], 'Name of the agent; empty when the address belonged to no run.'),
  {
    name: 'agent_kind',
    type: "LowCardinality(String) DEFAULT if(agent = '', '', 'TaskAgent')",
    attributes: ['agent.kind'],
    description: 'Kind of the agent.',
  },
  exchange('invocation', 'String', ['invocation.id'], 'Invocation id of the run.'),
  exchange('traceId', 'String', ['trace_id'], 'W3C trace id of the run.'),
  exchange('spanId', 'String', ['span_id'], 'Span sent upstream in `traceparent`, else the span of the run.'),
  exchange('worker', 'LowCardinality(String)', ['clrk.worker'], 'Worker whose gateway decided.'),
  exchange('gateway', 'LowCardinality(String)', ['clrk.gateway'], 'EgressGateway, `namespace/name`.'),
  exchange('route', 'LowCardinality(String)', ['clrk.route'], 'Route that matched, `Kind/namespace/name`; empty when none did.'),
  exchange('revision', 'LowCardinality(String)', ['clrk.policy.revision'], 'Policy revision the decision was made with.'),
  exchange('protocol', 'LowCardinality(String)', ['clrk.protocol'], '`https`, `http`, `tls`, `tcp`, `udp`, `icmp` (or another protocol of IP) or `dns`.'),
  exchange('method', 'LowCardinality(String)', ['http.request.method'], 'HTTP method, or the DNS type asked for.'),
  exchange('host', 'String', ['server.address'], 'Name that was asked for, lower case, without port.'),
  exchange('path', 'String', ['url.path'], 'Path without query.'),
  exchange('destination', 'String', ['clrk.destination'], 'Address and port the agent dialled.'),
  exchange('status', 'UInt16', ['http.response.status_code'], 'HTTP status the agent got; 0 when there was none.'),
  exchange('verdict', 'LowCardinality(String)', ['clrk.verdict'], '`Allowed` or `Denied`.'),
  exchange('reason', 'LowCardinality(String)', ['clrk.reason'], 'A stable word for why; `Allowed` when all went well.'),
  exchange('provider', 'LowCardinality(String)', ['gen_ai.provider.name', 'gen_ai.system'], 'LLM provider.'),
  exchange(
    'operation',
    'LowCardinality(String)',
    ['gen_ai.operation.name'],
    'Operation of the provider, such as `chat`; `execute_tool` of a tool of an MCP server.',
  ),
  exchange('model', 'LowCardinality(String)', ['gen_ai.request.model'], 'Model that was asked for.'),
  exchange('routeMatched', 'Bool', ['clrk.aiproviderroute.matched'], 'Whether a rule of an AIProviderRoute matched.'),
  exchange('stream', 'Bool', ['gen_ai.request.stream'], 'Whether a streamed answer was asked for.'),
  exchange(
    'maxTokens',
    'Nullable(UInt64)',
    ['gen_ai.request.max_tokens'],
    'Output tokens of one answer at most, as the provider was told; of a refused request, as it was asked for. Unknown when absent.',
  ),
  exchange('responseModel', 'LowCardinality(String)', ['gen_ai.response.model'], 'Model that answered, as the provider named it.'),
  exchange('responseId', 'String', ['gen_ai.response.id'], "The provider's own name for the answer."),
  exchange('finishReasons', 'Array(LowCardinality(String))', ['gen_ai.response.finish_reasons'], 'Why the answers ended, in words of the provider, each once.'),
  exchange(
    'inputTokens',
    'Nullable(UInt64)',
    ['gen_ai.tokens.input', 'gen_ai.usage.input_tokens'],
    'All input tokens the provider reported, those from and into its cache among them; unknown when absent.',
  ),
  exchange(
    'outputTokens',
    'Nullable(UInt64)',
    ['gen_ai.tokens.output', 'gen_ai.usage.output_tokens'],
    'All output tokens the provider reported, reasoning among them; unknown when absent.',
  ),
  exchange('cachedInputTokens', 'Nullable(UInt64)', ['gen_ai.usage.cache_read.input_tokens'], "Of the input: read from the provider's cache."),
  exchange('cacheCreationTokens', 'Nullable(UInt64)', ['gen_ai.usage.cache_creation.input_tokens'], "Of the input: written to the provider's cache."),
  exchange('reasoningTokens', 'Nullable(UInt64)', ['gen_ai.usage.reasoning.output_tokens'], 'Of the output: reasoning.'),
  exchange(
    'reservedTokens',
    'Nullable(UInt64)',
    ['clrk.budget.reserved_tokens'],
    'Tokens held in budgets until the answer said what it used; absent without a budget.',
  ),
  exchange(
    'costUsd',
    'Nullable(Float64)',
    ['clrk.cost.usd'],
    'US dollars it cost, to the millionth, as budgets count; absent without a price, or without a budget where the provider did not say what it used.',
  ),
  exchange('costEstimated', 'Bool', ['clrk.cost.estimated'], 'Whether the cost is the most it can have been, because the provider did not say what it used.'),
  exchange('budgetOverrun', 'Bool', ['clrk.budget.overrun'], 'Whether the provider reported more than was reserved.'),
  exchange(
    'providerFetches',
    'Array(String)',
    ['clrk.provider_fetch'],
    'Hosts the provider fetched from for the agent, or was to when it was denied; `*` is any host.',
  ),
  exchange(
    'mcpMethod',
    'LowCardinality(String)',
    ['mcp.method.name'],
    'JSON-RPC method that was sent to an MCP server; of several in one request, the one that was refused, or else the last.',
  ),
  exchange('tool', 'LowCardinality(String)', ['gen_ai.tool.name'], 'Tool of an MCP server that was called.'),
  exchange('mcpResource', 'String', ['mcp.resource.uri'], 'URI of the resource of an MCP server.'),
  exchange('mcpSession', 'String', ['mcp.session.id'], 'Session at the MCP server, as the agent named it.'),
  exchange('mcpProtocol', 'LowCardinality(String)', ['mcp.protocol.version'], 'Version of MCP, as the agent named it.'),
  exchange(
    'credentialsReplaced',
    'Array(LowCardinality(String))',
    ['clrk.credential.replaced'],
    'Credentials of the agent itself that were removed, by place: `header authorization`.',
  ),
  exchange(
    'credentialsEchoed',
    'Array(LowCardinality(String))',
    ['clrk.credential.echoed'],
    'Places of the answer that held the injected credential, which was taken out: `header`, `body`.',
  ),
  exchange('durationMs', 'Float64', ['clrk.duration_ms'], 'Milliseconds from the first byte of the request to the last of the answer.'),
  exchange('requestBytes', 'UInt64', ['http.request.body.size'], 'Bytes of the request.'),
  exchange('responseBytes', 'UInt64', ['http.response.body.size'], 'Bytes of the answer.'),
];

export const LOG_COLUMNS: readonly Column<keyof StoredLog>[] = [
  log('id', 'String', ['log.record.uid'], 'Key of the record: the same id is the same record.'),
  log('time', "DateTime64(9, 'UTC')", [], 'When the line came out of the run; `timeUnixNano` of the log record.'),
  log('namespace', 'LowCardinality(String)', ['agent.namespace'], 'Namespace of the agent.'),
  log('agent', 'LowCardinality(String)', ['agent.name'], 'Name of the agent.'),
  { name: 'agent_kind', type: "LowCardinality(String) DEFAULT 'TaskAgent'", attributes: ['agent.kind'], description: 'Kind of the agent.' },
  log('revision', 'LowCardinality(String)', ['clrk.revision'], 'AgentSandboxRevision that ran.'),
  log('invocation', 'String', ['invocation.id'], 'Invocation id of the run.'),
  log('traceId', 'String', ['trace_id'], 'W3C trace id of the run.'),
  log('spanId', 'String', ['span_id'], 'Span of the run.'),
  log('worker', 'LowCardinality(String)', ['clrk.worker'], 'Worker it ran on.'),
  log('component', 'LowCardinality(String)', ['clrk.component'], 'Part of the platform the record comes from: `worker`.'),
  log('iostream', 'LowCardinality(String)', ['log.iostream'], '`stdout` or `stderr`; empty for what the worker says about the run.'),
  log(
    'event',
    'LowCardinality(String)',
    ['clrk.event'],
    'Of lines of the worker: `started`, `ended` (the last of its run), `dropped` (something is missing here).',
  ),
  log('body', 'String', [], 'The line, at most 8 KiB (a longer one is several records); bytes that are no UTF-8 are U+FFFD.'),
  log('position', 'UInt64', ['clrk.position'], 'Grows in the order in which the store took records.'),
];

function exchange(field: keyof ExchangeRecord, type: string, attributes: readonly string[], description: string): Column<keyof ExchangeRecord> {
  return { name: nameOf(field), type, field, attributes, description };
}

function log(field: keyof StoredLog, type: string, attributes: readonly string[], description: string): Column<keyof StoredLog> {
  return { name: nameOf(field), type, field, attributes, description };
}

function nameOf(field: string): string {
  return field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
