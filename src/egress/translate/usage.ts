import { usageRules } from '#policy';
import { any, extension, type Json } from './envoy.ts';
import { inList, isText, usageScript } from './usage-script.ts';

/** Usage as the provider reports it, read in Envoy: no byte of an answer goes through the engine. */

/** Dynamic metadata: what the provider reported, as model `ReportedUsage`. */
export const USAGE_NAMESPACE = 'clrk.usage';
/** Of the engine, which has judged the request by then. */
const ENGINE_NAMESPACE = 'clrk.engine';

/** An event of a stream can carry a whole tool call. */
const MAX_EVENT = 1024 * 1024;
/** One of server-sent events can carry a whole picture, in base64. */
const MAX_SSE_EVENT = 4 * MAX_EVENT;

/** In the order of the request: an answer meets the last one first. */
export const usageFilters = (): readonly Json[] => {
  const known = usageRules();
  const rules = known
    .filter((rule) => !inList(rule))
    .map((rule) => ({
      rule: {
        selectors: rule.selectors.map((selector) => ({ key: selector })),
        on_present: { metadata_namespace: USAGE_NAMESPACE, key: rule.key, type: isText(rule) ? 'STRING' : 'NUMBER' },
      },
    }));
  const content_parser = extension('envoy.content_parsers.json', 'envoy.extensions.content_parsers.json.v3.JsonContentParser', { rules });
  const script = usageScript(known, { usage: USAGE_NAMESPACE, engine: ENGINE_NAMESPACE, maxBytes: MAX_EVENT });
  return [
    extension('usage-sse', 'envoy.extensions.filters.http.sse_to_metadata.v3.SseToMetadata', {
      response_rules: { max_event_size: MAX_SSE_EVENT, content_parser },
    }),
    extension('usage-aws', 'envoy.extensions.filters.http.aws_eventstream_parser.v3.AwsEventstreamParser', { response_rules: { content_parser } }),
    extension('usage-others', 'envoy.extensions.filters.http.lua.v3.Lua', { default_source_code: { inline_string: script } }),
  ];
};

const OFF = any('envoy.config.route.v3.FilterConfig', { disabled: true });
/** Switches the reading off, for a virtual host or route. */
export const WITHOUT_USAGE: Json = { 'usage-sse': OFF, 'usage-aws': OFF, 'usage-others': OFF };
