--- `$NAME`, `${NAME:-default}` … in a Compose file's texts, as Compose reads them (compose-spec, Interpolation). Pure.

local M = {}

local NAME = "^[%a_][%w_]*"

--- Where the `}` is that ends what begins at `from`, nested ones counted.
local function closing(text, from)
  local depth, at = 1, from
  while at <= #text do
    local two, one = text:sub(at, at + 1), text:sub(at, at)
    if two == "${" then
      depth, at = depth + 1, at + 1
    elseif one == "}" then
      depth = depth - 1
      if depth == 0 then return at end
    end
    at = at + 1
  end
end

--- What stands between the braces, taken apart: a name, an operator and its word; nil: it is none.
local function parts(inside)
  local name = inside:match(NAME)
  if not name then return nil end
  local rest = inside:sub(#name + 1)
  if rest == "" then return name end
  local operator = rest:match("^:?[-?+]")
  if not operator then return nil end
  return name, operator, rest:sub(#operator + 1)
end

--- Calls `fn(name, operator, word)` for each variable of a text and joins what it returns with the rest.
--- @param text string
--- @param fn fun(name: string, operator: string?, word: string?): string
--- @return string? joined  nil: it is malformed
function M.each(text, fn)
  local out, at = {}, 1
  while true do
    local dollar = text:find("$", at, true)
    if not dollar then break end
    out[#out + 1] = text:sub(at, dollar - 1)
    local after = text:sub(dollar + 1, dollar + 1)
    if after == "$" then
      out[#out + 1], at = "$", dollar + 2
    elseif after == "{" then
      local last = closing(text, dollar + 2)
      local name, operator, word
      if last then name, operator, word = parts(text:sub(dollar + 2, last - 1)) end
      if not name then return nil end
      out[#out + 1], at = fn(name, operator, word), last + 1
    else
      local name = text:match(NAME, dollar + 1)
      if not name then return nil end
      out[#out + 1], at = fn(name), dollar + 1 + #name
    end
  end
  out[#out + 1] = text:sub(at)
  local joined = ""
  for _, part in ipairs(out) do joined = joined .. part end  -- not table.concat: a secret joins into a secret
  return joined
end

--- A text with its variables replaced.
--- @param text string
--- @param values table<string, string|Secret>
--- @return string|Secret|nil out  nil: it is malformed, or a variable that it insists on is not there
--- @return string? missing  which one
function M.fill(text, values)
  local missing
  local out = M.each(text, function(name, operator, word)
    local value = values[name]
    local set = value ~= nil and not (operator and operator:sub(1, 1) == ":" and value == "")
    local kind = operator and operator:sub(-1)
    if kind == "+" then return set and (M.fill(word, values)) or "" end
    if set then return value end
    if kind == "-" then
      local default, also = M.fill(word, values)
      missing = missing or also
      return default or ""
    end
    missing = missing or name
    return ""
  end)
  if missing then return nil, missing end
  return out
end

--- The variables of a text that have no default of their own.
--- @param text string
--- @param found table<string, boolean>  they are added here
--- @return boolean ok  false: it is malformed
function M.collect(text, found)
  return M.each(text, function(name, operator, word)
    local kind = operator and operator:sub(-1)
    if kind ~= "-" and kind ~= "+" then found[name] = true end
    if word and kind ~= "?" then M.collect(word, found) end
    return ""
  end) ~= nil
end

return M
