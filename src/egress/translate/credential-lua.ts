/**
 * The script of upstream filters in clusters with a credential, in one Lua machine for all of them. Of a request it notes and
 * removes what the agent brought along as a credential, and puts ours into the query where it belongs there. Of an answer it takes
 * out every echo of what was injected: in headers, trailers and bodies of errors. What cannot be searched does not leave.
 */

/** Holds the credential on its way into the query. */
export const QUERY_HEADER = 'x-clrk-credential';
/** Of an answer on its way through the filters: what was injected. Still there behind them = the script did not do its work. */
export const ECHO_HEADER = 'x-clrk-echo';
/** Namespace of the dynamic metadata with what was found; names of places, never values. */
export const CREDENTIAL_NAMESPACE = 'clrk.credential';
/** What an agent holds in place of a key; it is nothing to be warned of. */
const PLACEHOLDER = 'clrk-injected-by-proxy';
const MASK = '[redacted]';
/** What is shorter keeps no secret, and is found in places that mean something else. */
const MIN_SECRET = 8;
/** Places of an answer that are looked at closely: about a second of Envoy's only thread. Plain text of 32 MiB has fewer. */
const MAX_LOOKS = 8_000_000;

/** What the agent brought along. */
const REQUEST = `
local contexts = {}
local function set_of(list)
  local set = {}
  for _, name in ipairs(list or {}) do set[name] = true end
  return set
end
local function context_of(handle)
  local map = handle:filterContext()
  local id = map:get("id")
  if not contexts[id] then
    contexts[id] = {
      kind = map:get("kind"), route = map:get("route"), gateway = map:get("gateway"), policy = map:get("policy"),
      headers = map:get("headers") or {}, query = set_of(map:get("query")), whole = map:get("whole") == true,
    }
  end
  return contexts[id]
end

local function note(handle, key, value)
  handle:streamInfo():dynamicMetadata():set("${CREDENTIAL_NAMESPACE}", key, value)
end

local function decoded(text)
  return (text:gsub("+", " "):gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function is_credential(context, part)
  for piece in part:gmatch("[^;]+") do
    local name = decoded(piece:match("^[^=]*")):lower()
    if context.query[name] or (context.kind == "aws" and name:sub(1, 6) == "x-amz-") then return name end
  end
end

local function strip(handle)
  local context = context_of(handle)
  local headers = handle:headers()
  local replaced = {}
  for _, name in ipairs(context.headers) do
    local value = headers:get(name)
    if value then
      if not value:find("${PLACEHOLDER}", 1, true) then replaced[#replaced + 1] = "header " .. name end
      headers:remove(name)
    end
  end
  local path = headers:get(":path")
  local mark = path:find("?", 1, true)
  if mark then
    local kept, gone = {}, false
    for part in path:sub(mark + 1):gmatch("[^&]+") do
      local name = is_credential(context, part)
      if name then
        gone = true
        if not part:find("${PLACEHOLDER}", 1, true) then replaced[#replaced + 1] = "query " .. name end
      else
        kept[#kept + 1] = part
      end
    end
    if gone then headers:replace(":path", path:sub(1, mark - 1) .. (#kept > 0 and "?" .. table.concat(kept, "&") or "")) end
  end
  if #replaced > 0 then note(handle, "replaced", table.concat(replaced, ", ")) end
end

local function put(handle)
  local headers = handle:headers()
  local value = headers:get("${QUERY_HEADER}")
  local path = headers:get(":path")
  headers:remove("${QUERY_HEADER}")
  headers:replace(":path", path .. (path:find("?", 1, true) and "&" or "?") .. value)
end

function envoy_on_request(handle)
  local ok = pcall(handle:filterContext():get("put") and put or strip, handle)
  if not ok then handle:respond({[":status"] = "503"}, "") end
end
`;

/** What is looked for in an answer: the value in each of its forms. */
const FORMS = `
local function escaped(char)
  return char:find("^%w") and char or "%" .. char
end

local function base64_forms(handle, value, to)
  for offset = 0, 2 do
    local text = handle:base64Escape(("\\0"):rep(offset) .. value):gsub("=", "")
    local core = text:sub(math.ceil(offset * 8 / 6) + 1, math.floor((offset + #value) * 8 / 6))
    if #core >= 4 then
      to[#to + 1] = core
      local url = core:gsub("+", "-"):gsub("/", "_")
      if url ~= core then to[#to + 1] = url end
    end
  end
end

local needles_by_echo, count = {}, 0
local function values_of(kind, echo)
  if kind == "query" then return {decoded(echo:match("[?&][^?&=]*=([^&]*)$"))} end
  if kind == "aws" then
    local signature, token = echo:match("Signature=(%x+) *(.*)$")
    return (token == "-" or token == "") and {signature} or {signature, token}
  end
  -- Of "Bearer x" it is the x that must not be seen, also without the other word.
  local bare = echo:match("^%a[%w-]* +(.+)$")
  return {bare and #bare >= ${MIN_SECRET} and bare or echo}
end

local function needles_of(handle, kind, echo)
  if needles_by_echo[echo] then return needles_by_echo[echo] end
  local needles = {}
  local values = values_of(kind, echo)
  if #values == 0 or values[1] == "" then error("nothing to look for") end
  for _, value in ipairs(values) do
    if #value >= ${MIN_SECRET} then
      local forms = {value}
      base64_forms(handle, value, forms)
      for _, form in ipairs(forms) do needles[#needles + 1] = {text = form, start = "[" .. escaped(form:sub(1, 1)) .. "%%\\\\]"} end
    end
  end
  if count >= 256 then needles_by_echo, count = {}, 0 end
  needles_by_echo[echo], count = needles, count + 1
  return needles
end

-- The end of a needle that stands at a place, each of its characters as it is, percent-encoded or escaped as in JSON.
local function ends(text, at, needle, i)
  while i <= #needle do
    local want, is = needle:byte(i), text:byte(at)
    local length = nil
    if is == 37 then
      length = tonumber(text:match("^%x%x", at + 1) or "", 16) == want and 3
    elseif is == 92 then
      local hex = text:match("^u00(%x%x)", at + 1)
      if hex then length = tonumber(hex, 16) == want and 6 else length = text:byte(at + 1) == want and 2 end
    elseif is == 43 and want == 32 then
      length = 1
    end
    if length then
      -- What looks encoded may stand for itself.
      local stop = is == want and ends(text, at + 1, needle, i + 1)
      if stop then return stop end
      at = at + length
    elseif is == want then
      at = at + 1
    else
      return nil
    end
    i = i + 1
  end
  return at
end

local function without(text, needles)
  local found, looks = false, 0
  for _, needle in ipairs(needles) do
    local kept, from, at = {}, 1, text:find(needle.start)
    while at do
      looks = looks + 1
      if looks > ${MAX_LOOKS} then error("made to be searched for long") end
      local stop = ends(text, at, needle.text, 1)
      if stop then
        kept[#kept + 1] = text:sub(from, at - 1) .. "${MASK}"
        from = stop
      end
      at = text:find(needle.start, stop or at + 1)
    end
    if from > 1 then
      found = true
      text = table.concat(kept) .. text:sub(from)
    end
  end
  return text, found
end
`;

const RESPONSE = `
local function search_map(map, needles)
  local fields, found = {}, {}
  for name, value in pairs(map) do
    if name:sub(1, 1) ~= ":" and name ~= "${ECHO_HEADER}" then
      local kept, inside = without(value, needles)
      local _, named = without(name, needles)
      fields[#fields + 1] = {name = name, value = kept}
      if inside or named then found[name] = named and "name" or "value" end
    end
  end
  if not next(found) then return false end
  for name in pairs(found) do map:remove(name) end
  for _, field in ipairs(fields) do
    if found[field.name] == "value" then map:add(field.name, field.value) end
  end
  return true
end

local function search(handle, state)
  local context = context_of(handle)
  state.context = context
  local headers = handle:headers()
  local needles = needles_of(handle, context.kind, headers:get("${ECHO_HEADER}"))
  local places = {}
  if search_map(headers, needles) then places[#places + 1] = "header" end
  local status = tonumber(headers:get(":status"))
  if context.whole and status < 200 then error("what follows an upgrade cannot be searched") end
  if context.whole or status >= 400 then
    -- Held here, in a filter that never waits for anybody else: Envoy does not survive an answer that is still held when its upstream
    -- has ended, and goes on later.
    state.body = handle:body(true)
    headers = handle:headers() -- those from before the body came are of no use
    local length = state.body:length()
    if length > 0 then
      local encoding = headers:get("content-encoding")
      if encoding and encoding:lower() ~= "identity" then error("the body is encoded") end
      local text, found = without(state.body:getBytes(0, length), needles)
      if found then
        places[#places + 1] = "body"
        state.body:setBytes(text)
      end
    end
  end
  if #places > 0 then note(handle, "echoed", table.concat(places, ", ")) end
  headers:remove("${ECHO_HEADER}")
  state.body = nil
  state.checked = true
  local trailers = handle:trailers()
  if trailers and search_map(trailers, needles) then
    places[#places + 1] = "trailer"
    note(handle, "echoed", table.concat(places, ", "))
  end
end

local function refuse(handle, state)
  note(handle, "refused", "RedactionFailed")
  local headers = handle:headers()
  local names = {}
  for name in pairs(headers) do
    if name:sub(1, 1) ~= ":" then names[#names + 1] = name end
  end
  local context = state.context or {}
  local body = ([[{"error":{"code":"RedactionFailed","message":"The answer could not be searched for the credential that was injected, so it was withheld.",]]
    .. [["decision":"","policy":"%s","route":"%s","gateway":"%s","revision":""}}]]):format(context.policy or "", context.route or "", context.gateway or "")
  local bytes = state.body or handle:body(true)
  bytes:setBytes(body)
  headers = handle:headers() -- those from before the body came are of no use
  for _, name in ipairs(names) do
    if name ~= "content-length" then headers:remove(name) end
  end
  headers:replace(":status", "502")
  headers:replace("content-type", "application/json")
end

function envoy_on_response(handle)
  if handle:filterContext():get("put") then return end
  local state = {}
  local ok = pcall(search, handle, state)
  if ok then return end
  if state.checked then
    -- Of trailers: what is left of them is not known.
    local trailers = handle:trailers()
    local names = {}
    for name in pairs(trailers or {}) do names[#names + 1] = name end
    for _, name in ipairs(names) do trailers:remove(name) end
  else
    refuse(handle, state)
  end
end
`;

export const CREDENTIAL_LUA = [REQUEST, FORMS, RESPONSE].map((part) => part.trim()).join('\n\n') + '\n';

/** Behind the filters of a cluster: an answer whose echo header is still there was not searched, and does not leave. */
export const UNSEARCHED_LUA = `
local function withhold(handle, headers)
  local names = {}
  for name in pairs(headers) do
    if name:sub(1, 1) ~= ":" then names[#names + 1] = name end
  end
  for _, name in ipairs(names) do headers:remove(name) end
  headers:replace(":status", "502")
  headers:replace("content-type", "application/json")
  handle:streamInfo():dynamicMetadata():set("${CREDENTIAL_NAMESPACE}", "refused", "RedactionFailed")
  handle:body(true):setBytes('{"error":{"code":"RedactionFailed","message":"The answer could not be searched for the credential that was injected, so it was withheld."}}')
end
`.trimStart();
