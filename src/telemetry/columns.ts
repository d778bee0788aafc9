import type { ExchangeRecord } from '#model';

/**
 * The one description of table `exchanges`: DDL, rows, OpenTelemetry attribute names and the reference page all come from
 * here. Adding a column is adding a line (a store adds it to its table at the next start); never change the type of one.
 * Attribute names: OpenTelemetry semantic conventions 1.45, ours under `clrk.`; token counts in both spellings in use.
 */
export interface Column {
  /** Column name in ClickHouse. */
  readonly name: string;
  /** ClickHouse type, with its DEFAULT where rows do not carry the column. */
  readonly type: string;
  /** Field of the record it holds; none = the table fills it. */
  readonly field?: keyof ExchangeRecord;
  /** OpenTelemetry attributes that carry the value. */
  readonly attributes: readonly string[];
  readonly description: string;
}

export const EXCHANGE_COLUMNS: readonly Column[] = [
  column('decisionId', 'String', ['clrk.decision.id'], 'Decision id, the key of the record: the same id is the same record.'),
  column('time', "DateTime64(3, 'UTC')", [], 'When the request, connection or question began.'),
  column('namespace', 'LowCardinality(String)', ['agent.namespace'], 'Namespace of the agent.'),
  column('agent', 'LowCardinality(String)', ['agent.name'], 'Name of the agent; empty when the address belonged to no run.'),
  {
    name: 'agent_kind',
    type: "LowCardinality(String) DEFAULT if(agent = '', '', 'TaskAgent')",
    attributes: ['agent.kind'],
    description: 'Kind of the agent.',
  },
  column('invocation', 'String', ['invocation.id'], 'Invocation id of the run.'),
  column('traceId', 'String', ['trace_id'], 'W3C trace id of the run.'),
  column('spanId', 'String', ['span_id'], 'Span sent upstream in `traceparent`, else the span of the run.'),
  column('worker', 'LowCardinality(String)', ['clrk.worker'], 'Worker whose gateway decided.'),
  column('gateway', 'LowCardinality(String)', ['clrk.gateway'], 'EgressGateway, `namespace/name`.'),
  column('route', 'LowCardinality(String)', ['clrk.route'], 'Route that matched, `Kind/namespace/name`; empty when none did.'),
  column('revision', 'LowCardinality(String)', ['clrk.policy.revision'], 'Policy revision the decision was made with.'),
  column('protocol', 'LowCardinality(String)', ['clrk.protocol'], '`https`, `http`, `tls`, `tcp` or `dns`.'),
  column('method', 'LowCardinality(String)', ['http.request.method'], 'HTTP method, or the DNS type asked for.'),
  column('host', 'String', ['server.address'], 'Name that was asked for, lower case, without port.'),
  column('path', 'String', ['url.path'], 'Path without query.'),
  column('destination', 'String', ['clrk.destination'], 'Address and port the agent dialled.'),
  column('status', 'UInt16', ['http.response.status_code'], 'HTTP status the agent got; 0 when there was none.'),
  column('verdict', 'LowCardinality(String)', ['clrk.verdict'], '`Allowed` or `Denied`.'),
  column('reason', 'LowCardinality(String)', ['clrk.reason'], 'A stable word for why; `Allowed` when all went well.'),
  column('provider', 'LowCardinality(String)', ['gen_ai.provider.name'], 'LLM provider.'),
  column('model', 'LowCardinality(String)', ['gen_ai.request.model'], 'Model that was asked for.'),
  column('operation', 'LowCardinality(String)', ['gen_ai.operation.name'], 'Operation of the provider, such as `chat`.'),
  column('stream', 'Bool', ['clrk.stream'], 'Whether a streamed answer was asked for.'),
  column('inputTokens', 'Nullable(UInt64)', ['gen_ai.tokens.input', 'gen_ai.usage.input_tokens'], 'Input tokens the provider reported; unknown when absent.'),
  column(
    'outputTokens',
    'Nullable(UInt64)',
    ['gen_ai.tokens.output', 'gen_ai.usage.output_tokens'],
    'Output tokens the provider reported; unknown when absent.',
  ),
  column('durationMs', 'Float64', ['clrk.duration_ms'], 'Milliseconds from the first byte of the request to the last of the answer.'),
  column('requestBytes', 'UInt64', ['http.request.body.size'], 'Bytes of the request.'),
  column('responseBytes', 'UInt64', ['http.response.body.size'], 'Bytes of the answer.'),
];

function column(field: keyof ExchangeRecord, type: string, attributes: readonly string[], description: string): Column {
  return { name: field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), type, field, attributes, description };
}
