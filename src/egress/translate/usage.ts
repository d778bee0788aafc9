import { usageRules, type UsageRule } from '#policy';
import { any, extension, type Json } from './envoy.ts';

/** Usage as the provider reports it, read in Envoy: no byte of an answer goes through the engine. */

/** Dynamic metadata: what the provider reported, as model `ReportedUsage`. */
export const USAGE_NAMESPACE = 'clrk.usage';
/** Of the engine, which has judged the request by then. */
const ENGINE_NAMESPACE = 'clrk.engine';

/** An event of a stream can carry a whole tool call. */
const MAX_EVENT = 1024 * 1024;

/** What is not counted. */
const TEXTS: ReadonlySet<UsageRule['key']> = new Set(['responseModel', 'finishReason', 'responseId']);

type Tree = { readonly [field: string]: Tree | string };

/** Rules by their first selector, then by the next. */
const treeOf = (rules: readonly UsageRule[]): Tree => {
  const tree: Record<string, Tree | string> = {};
  for (const { selectors, key } of rules) {
    const [first, ...rest] = selectors as readonly [string, ...string[]];
    if (rest.length === 0) tree[first] = key;
    else
      tree[first] = treeOf(
        rules.filter((rule) => rule.selectors[0] === first && rule.selectors.length > 1).map((rule) => ({ key: rule.key, selectors: rule.selectors.slice(1) })),
      );
  }
  return tree;
};

const luaOf = (tree: Tree | string): string =>
  typeof tree === 'string'
    ? JSON.stringify(tree)
    : `{${Object.entries(tree)
        .map(([field, value]) => `[${JSON.stringify(field)}]=${luaOf(value)}`)
        .join(',')}}`;

/** Bedrock says in headers what an answer in one piece used. Source: https://docs.aws.amazon.com/bedrock/latest/userguide/inference-invoke.html */
const HEADERS = {
  'x-amzn-bedrock-input-token-count': 'input',
  'x-amzn-bedrock-output-token-count': 'output',
  'x-amzn-bedrock-cache-read-input-token-count': 'cachedInput',
  'x-amzn-bedrock-cache-write-input-token-count': 'cacheCreation',
} as const satisfies Readonly<Record<string, UsageRule['key']>>;

/** Stands in for `application/json` where that is one long array, which the filter that reads whole JSON would hold back until its end. */
const ARRAY_TYPE = 'application/vnd.clrk.array';
const TYPE_KEY = 'content-type';

/**
 * What no native filter reads: headers, and the array that Gemini's `streamGenerateContent` is without `alt=sse`. Every chunk goes on at
 * once; what is kept is one element, of bounded size. Members are looked for where the rules say alone: what a model writes is deeper,
 * and is not taken for a count.
 */
const OTHERS = (rules: readonly UsageRule[]): string => `
local RULES = ${luaOf(treeOf(rules))}
local HEADERS = ${luaOf(HEADERS)}
local MAX = ${MAX_EVENT}

-- Members of a JSON object, name to text of the value.
local function members(text)
  local found, depth, at, key, from = {}, 0, 1, nil, nil
  while true do
    local i, _, c = text:find('(["{}%[%],:])', at)
    if not i then return found end
    at = i + 1
    if c == '"' then
      local close = at
      while true do
        close = text:find('["\\\\]', close)
        if not close then return found end
        if text:byte(close) ~= 92 then break end
        close = close + 2
      end
      if depth == 1 and not key then key = text:sub(i + 1, close - 1) end
      at = close + 1
    elseif c == ":" then
      if depth == 1 then from = at end
    elseif c == "{" or c == "[" then
      depth = depth + 1
    else
      if depth == 1 and key and from then found[key] = text:sub(from, i - 1) end
      if depth == 1 then key, from = nil, nil end
      if c ~= "," then depth = depth - 1 end
    end
  end
end

local function report(handle, text, rules)
  for name, value in pairs(members(text)) do
    local rule = rules[name]
    if type(rule) == "table" then
      report(handle, value, rule)
    elseif rule then
      local said = tonumber(value) or value:match('^%s*"([^"\\\\]*)"%s*$')
      if said then handle:streamInfo():dynamicMetadata():set("${USAGE_NAMESPACE}", rule, said) end
    end
  end
end

local function elements(handle)
  local pending, at, depth, from, quoted = "", 1, 0, nil, false
  for chunk in handle:bodyChunks() do
    pending = pending .. chunk:getBytes(0, chunk:length())
    while true do
      local i = pending:find(quoted and '["\\\\]' or '["{}%[%]]', at)
      local c = i and pending:sub(i, i)
      if not i then
        at = #pending + 1
        break
      elseif c == "\\\\" and i == #pending then
        at = i
        break
      end
      at = i + (c == "\\\\" and 2 or 1)
      if c == '"' then
        quoted = not quoted
      elseif c == "{" or c == "[" then
        depth = depth + 1
        if depth == 2 then from = i end
      elseif c ~= "\\\\" then
        depth = depth - 1
        if depth == 1 and from then
          report(handle, pending:sub(from, i), RULES)
          pending, at, from = pending:sub(i + 1), 1, nil
        end
      end
    end
    if #pending > MAX then return end
  end
end

function envoy_on_response(handle)
  local headers, metadata = handle:headers(), handle:streamInfo():dynamicMetadata()
  local engine = metadata:get("${ENGINE_NAMESPACE}")
  if not engine then return end
  for name, key in pairs(HEADERS) do
    local value = headers:get(name)
    local count = value and tonumber(value)
    if count then metadata:set("${USAGE_NAMESPACE}", key, count) end
  end
  local type = headers:get("${TYPE_KEY}") or ""
  if engine["stream"] and engine["provider"] == "google" and type:match("^application/json") then
    metadata:set("clrk", "${TYPE_KEY}", type)
    headers:replace("${TYPE_KEY}", "${ARRAY_TYPE}")
    elements(handle)
  end
end
`;

/** Lua for the response path of a filter that sees the answer after `usageFilters`: gives it its own content type again. */
export const RESTORE_TYPE = `
  if headers:get("${TYPE_KEY}") == "${ARRAY_TYPE}" then
    headers:replace("${TYPE_KEY}", handle:streamInfo():dynamicMetadata():get("clrk")["${TYPE_KEY}"])
  end
`;

/** In the order of the request: an answer meets the last one first. */
export const usageFilters = (): readonly Json[] => {
  const known = usageRules();
  const rules = known.map(({ selectors, key }) => ({
    selectors: selectors.map((selector) => ({ key: selector })),
    on_present: { metadata_namespace: USAGE_NAMESPACE, key, type: TEXTS.has(key) ? 'STRING' : 'NUMBER' },
  }));
  const content_parser = extension('envoy.content_parsers.json', 'envoy.extensions.content_parsers.json.v3.JsonContentParser', {
    rules: rules.map((rule) => ({ rule })),
  });
  return [
    extension('usage-json', 'envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata', {
      response_rules: { rules, allow_content_types: ['application/json'], allow_content_types_regex: { regex: 'application/json *;.*' } },
    }),
    extension('usage-sse', 'envoy.extensions.filters.http.sse_to_metadata.v3.SseToMetadata', {
      response_rules: { max_event_size: MAX_EVENT, content_parser },
    }),
    extension('usage-aws', 'envoy.extensions.filters.http.aws_eventstream_parser.v3.AwsEventstreamParser', { response_rules: { content_parser } }),
    extension('usage-others', 'envoy.extensions.filters.http.lua.v3.Lua', { default_source_code: { inline_string: OTHERS(known).trimStart() } }),
  ];
};

const OFF = any('envoy.config.route.v3.FilterConfig', { disabled: true });
/** Switches the reading off, for a virtual host or route: it holds JSON until its end. */
export const WITHOUT_USAGE: Json = { 'usage-json': OFF, 'usage-sse': OFF, 'usage-aws': OFF, 'usage-others': OFF };
