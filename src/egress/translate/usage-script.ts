import { REGISTRY, type UsageRule } from '#policy';

/**
 * The script that reads what no native filter does: counts in headers, answers in JSON (the native filter holds them back until their
 * end, and refuses those that are larger than a connection may hold), and what stands in lists. Every chunk goes on at once; what is
 * kept is one member or line, of bounded size. Members are looked for where the rules say alone: what a model writes is deeper, and is
 * not taken for a count.
 */

/** No native filter looks into lists. */
export const inList = ({ selectors }: UsageRule): boolean => selectors.includes('*');

/** What is not counted. */
export const isText = ({ key }: Pick<UsageRule, 'key'>): boolean => key === 'responseModel' || key === 'finishReason' || key === 'responseId';

/** Bedrock says in headers what an answer in one piece used. Source: https://docs.aws.amazon.com/bedrock/latest/userguide/inference-invoke.html */
const HEADERS = {
  'x-amzn-bedrock-input-token-count': 'input',
  'x-amzn-bedrock-output-token-count': 'output',
  'x-amzn-bedrock-cache-read-input-token-count': 'cachedInput',
  'x-amzn-bedrock-cache-write-input-token-count': 'cacheCreation',
} as const satisfies Readonly<Record<string, UsageRule['key']>>;

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

const setOf = (names: readonly string[]): string => luaOf(Object.fromEntries(names.map((name) => [name, 'true'])));
/** What a line of a stream has that says something in a list. */
const needlesOf = (rules: readonly UsageRule[]): string =>
  [...new Set(rules.filter(inList).map(({ selectors }) => selectors.at(-1)!))].map((name) => String.raw`'"${name}"%s*:%s*"'`).join(', ');

/** The names of the metadata it reads and writes, and how much of an answer it keeps at most. */
export interface ScriptOptions {
  readonly usage: string;
  readonly engine: string;
  readonly maxBytes: number;
}

const REPORT = `
local function set(handle, key, text)
  local metadata = handle:streamInfo():dynamicMetadata()
  if not TEXTS[key] then
    local count = text:match("^%s*%d[%d%.eE+-]*%s*$") and tonumber(text)
    -- What is no whole number any more breaks the line of the log when it is infinite.
    if count and count <= 9007199254740992 then metadata:set(USAGE, key, count) end
    return
  end
  local said = text:match('^%s*"([^"\\\\]*)"%s*$')
  if not said then return end
  if key == "finishReason" then
    -- Several answers end for several reasons.
    local before = (metadata:get(USAGE) or {})[key] or ""
    said = said:sub(1, 64)
    if #before > 256 or ("," .. before .. ","):find("," .. said .. ",", 1, true) then return end
    if before ~= "" then said = before .. "," .. said end
  end
  metadata:set(USAGE, key, said)
end

-- Members of a JSON object, name to text of the value, or elements of a list, by number.
local function members(text)
  local found, depth, at, key, from, list = {}, 0, 1, nil, nil, false
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
      if depth == 1 and not key and not list then key = text:sub(i + 1, close - 1) end
      at = close + 1
    elseif c == ":" then
      if depth == 1 and not list then from = at end
    elseif c == "{" or c == "[" then
      depth = depth + 1
      if depth == 1 and c == "[" then list, from = true, at end
    else
      if depth == 1 and from and (key or list) then found[list and #found + 1 or key] = text:sub(from, i - 1) end
      if depth == 1 then key, from = nil, list and at or nil end
      if c ~= "," then depth = depth - 1 end
    end
  end
end

local function report(handle, text, rule)
  if type(rule) == "string" then return set(handle, rule, text) end
  for name, value in pairs(members(text)) do
    local next = type(name) == "number" and rule["*"] or rule[name]
    if next then report(handle, value, next) end
  end
end
`;

const BODIES = `
-- JSON in one piece: an object, or a list of objects.
local function json(handle)
  local depth, top, quoted, skip = 0, nil, false, false
  local name, naming, value, size = nil, false, nil, 0
  for chunk in handle:bodyChunks() do
    local text = chunk:getBytes(0, chunk:length())
    local at, from = skip and 2 or 1, 1
    skip = false
    while true do
      local i, _, c = text:find(quoted and '(["\\\\])' or depth == top and '(["{}%[%],:])' or '(["{}%[%]])', at)
      if not i then break end
      at = i + 1
      if c == "\\\\" then
        at = i + 2
        skip = i == #text
      elseif quoted then
        quoted = false
        if naming then name, naming = #name < 64 and name .. text:sub(from, i - 1) or name, false end
      elseif c == '"' then
        quoted = true
        if depth == top and not name then name, naming, from = "", true, at end
      elseif c == ":" then
        if RULES[name or ""] and not value then value, size, from = {}, 0, at end
      elseif c == "{" or c == "[" then
        depth = depth + 1
        top = top or (c == "{" and 1 or 2)
      else
        if depth == top then
          if value then
            value[#value + 1] = text:sub(from, i - 1)
            report(handle, table.concat(value), RULES[name])
          end
          name, value = nil, nil
        end
        if c ~= "," then depth = depth - 1 end
      end
    end
    if naming then
      -- No name that is looked for is as long.
      if #name < 64 then name = name .. text:sub(from, from + 64) end
    elseif value then
      size = size + #text
      value[#value + 1] = text:sub(from)
      if size > MAX then name, value = "", nil end
    end
  end
end

local function read_line(handle, line)
  for _, needle in ipairs(NEEDLES) do
    if line:find(needle) then return report(handle, line, LISTED) end
  end
end

-- Events, each with its data in one line; a native filter reads what is not in lists. A line is put together once, when it has ended,
-- and one that is too large is passed over.
local function events(handle)
  local kept, size = {}, 0
  for chunk in handle:bodyChunks() do
    local text, from = chunk:getBytes(0, chunk:length()), 1
    while true do
      local stop = text:find("\\n", from, true)
      local part = text:sub(from, stop and stop - 1)
      size = size + #part
      if size <= MAX then kept[#kept + 1] = part end
      if not stop then break end
      if size <= MAX then read_line(handle, table.concat(kept)) end
      kept, size, from = {}, 0, stop + 1
    end
  end
end
`;

export const usageScript = (rules: readonly UsageRule[], { usage, engine, maxBytes }: ScriptOptions): string =>
  `
local RULES = ${luaOf(treeOf(rules))}
local LISTED = ${luaOf(treeOf(rules.filter(inList)))}
local LISTING = ${setOf(REGISTRY.filter((provider) => provider.usage.some(inList)).map(({ name }) => name))}
local TEXTS = ${setOf(rules.filter(isText).map(({ key }) => key))}
local NEEDLES = {${needlesOf(rules)}}
local HEADERS = ${luaOf(HEADERS)}
local USAGE = ${JSON.stringify(usage)}
local MAX = ${maxBytes}
${REPORT}${BODIES}
function envoy_on_response(handle)
  local headers = handle:headers()
  local engine = handle:streamInfo():dynamicMetadata():get(${JSON.stringify(engine)})
  if not engine then return end
  for name, key in pairs(HEADERS) do
    local value = headers:get(name)
    if value then set(handle, key, value) end
  end
  local type = headers:get("content-type") or ""
  if type:match("^application/json") then
    json(handle)
  elseif LISTING[engine["provider"]] and type:match("^text/event%-stream") then
    events(handle)
  end
end
`.trimStart();
