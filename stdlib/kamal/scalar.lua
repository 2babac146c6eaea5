--- What a plain YAML scalar is to Ruby (Psych's ScalarScanner, YAML 1.1 with Ruby's own additions) and how Ruby writes
--- it back as text. Pure: text in, type and value out.

local M = {}

--- @alias ScalarType "string"|"integer"|"float"|"boolean"|"symbol"|"date"|"time"|"null"

local WORDS = { yes = true, ["true"] = true, on = true, no = false, ["false"] = false, off = false }

--- Whether a text opens with what Psych takes for the beginning of a word: then it is a string, a boolean or null.
local function is_word(text)
  return text:find("\n", 1, true) ~= nil or text:match("^[^%d.:%-]?[%a_%s!@#$%%^&*(){}<>|/\\~;=\128-\255]+") ~= nil
end

local function word(text)
  if #text > 5 then return "string", text end
  local lower = text:lower()
  if text == "~" or lower == "null" then return "null" end
  if WORDS[lower] ~= nil then return "boolean", WORDS[lower] end
  return "string", text
end

--- "22:22" → 80520: of up to three parts each is worth sixty of the next.
local function sexagesimal(text)
  local total, index, sign = 0, 0, 1
  for part in text:gmatch("[^:]+") do
    total = total + (tonumber((part:gsub("_", ""):gsub("^%+", ""))) or 0) * 60 ^ math.abs(index - 2)
    index = index + 1
  end
  return total * sign
end

local function is_sexagesimal(text, fraction)
  local head, tail = text:match("^[-+]?%d[%d_]*(:[%d:]*)" .. (fraction and "(%.[%d_]*)$" or "()$"))
  if not head or not tail then return false end
  local parts = 0
  for part in head:gmatch(":([^:]*)") do
    if not part:match("^[0-5]?%d$") then return false end
    parts = parts + 1
  end
  return parts == 1 or parts == 2
end

--- Digits of a base, grouped by underscores or (in base ten) commas; nil where they are none.
local function integer(text)
  local sign, rest = text:match("^([-+]?)(.*)$")
  local digits, base
  if rest:match("^0[bB]_*[01]") and rest:match("^0[b][01_]+$") then
    digits, base = rest:sub(3), 2
  elseif rest:match("^0x_*%x") and rest:match("^0x[%x_]+$") then
    digits, base = rest:sub(3), 16
  elseif rest == "0" or (rest:match("^[1-9][%d_,]*$") and not rest:find("[_,][_,]") and not rest:find("[_,]$")) then
    digits, base = rest, 10
  elseif rest:match("^0_*[0-7]") and rest:match("^0[0-7_]+$") then
    digits, base = rest:sub(2), 8
  elseif rest:match("^0o_*[0-7]") and rest:match("^0o[0-7_]+$") then
    digits, base = rest:sub(3), 8
  else
    return nil
  end
  digits = digits:gsub("[_,]", "")
  local value = tonumber(digits, base)
  if not value then return nil end
  local shown = base == 10 and digits or ("%.0f"):format(value)
  if sign == "-" and value ~= 0 then return -value, "-" .. shown end
  return value, shown
end

local function float(text)
  local sign, whole, fraction, exponent = text:match("^([-+]?)([%d_,]*)%.(%d*)(.*)$")
  if not sign or (whole ~= "" and not whole:match("^%d")) then return nil end
  if exponent ~= "" and not exponent:match("^[eE][-+]%d+$") then return nil end
  if whole == "" and fraction == "" then return nil end
  local digits = whole:gsub("[_,]", "")
  return tonumber(sign .. (digits == "" and "0" or digits) .. "." .. (fraction == "" and "0" or fraction) .. exponent)
end

local function is_time(text)
  return text:match("^%-?%d%d%d%d%-%d%d?%-%d%d?[Tt]%d%d?:%d%d:%d%d") or
    text:match("^%-?%d%d%d%d%-%d%d?%-%d%d?%s+%d%d?:%d%d:%d%d")
end

local function is_date(text)
  local month, day = text:match("^%d%d%d%d%-(%d%d?)%-(%d%d?)$")
  month, day = tonumber(month), tonumber(day)
  return month ~= nil and month >= 1 and month <= 12 and day >= 1 and day <= 31
end

--- Ruby's Float#to_s.
--- @param value number
--- @return string
function M.float_text(value)
  if value ~= value then return "NaN" end
  if value == math.huge then return "Infinity" end
  if value == -math.huge then return "-Infinity" end
  if value == 0 then return "0.0" end
  local shortest
  for precision = 1, 17 do
    shortest = ("%." .. precision .. "g"):format(value)
    if tonumber(shortest) == value then break end
  end
  local sign, exponent = ("%.17e"):format(tonumber(shortest)):match("^(-?)[%d.]+e([-+]%d+)$")
  exponent = tonumber(exponent)
  local digits = (shortest:gsub("e.*$", ""):gsub("[-.]", ""):gsub("^0+", ""):gsub("0+$", ""))
  if digits == "" then digits = "0" end
  if exponent < -4 or exponent >= 16 then
    local rest = digits:sub(2)
    return ("%s%s.%se%s%02d"):format(sign, digits:sub(1, 1), rest == "" and "0" or rest, exponent < 0 and "-" or "+",
      math.abs(exponent))
  end
  if exponent < 0 then return sign .. "0." .. ("0"):rep(-exponent - 1) .. digits end
  if #digits <= exponent + 1 then return sign .. digits .. ("0"):rep(exponent + 1 - #digits) .. ".0" end
  return sign .. digits:sub(1, exponent + 1) .. "." .. digits:sub(exponent + 2)
end

--- What Psych makes of an unquoted scalar.
--- @param text string
--- @return ScalarType kind
--- @return any value    nil for null; of dates and times their text
--- @return string shown  as Ruby's `to_s` has it
function M.scan(text)
  if text == "" then return "null", nil, "" end
  if is_word(text) then
    local kind, value = word(text)
    return kind, value, kind == "null" and "" or tostring(value)
  end
  local lower = text:lower()
  if is_time(text) then return "time", text, text end
  if is_date(text) then return "date", text, text end
  if lower:match("^%+?%.inf$") then return "float", math.huge, "Infinity" end
  if lower == "-.inf" then return "float", -math.huge, "-Infinity" end
  if lower == ".nan" then return "float", 0 / 0, "NaN" end
  if text:match("^:.") then
    local name = text:match("^:\"(.*)\"$") or text:match("^:'(.*)'$") or text:sub(2)
    return "symbol", name, name
  end
  if is_sexagesimal(text, false) then
    local value = sexagesimal(text)
    return "integer", value, ("%.0f"):format(value)
  end
  if is_sexagesimal(text, true) then
    local value = sexagesimal(text)
    return "float", value, M.float_text(value)
  end
  local fraction = float(text)
  if fraction then return "float", fraction, M.float_text(fraction) end
  local whole, shown = integer(text)
  if whole then return "integer", whole, shown end
  return "string", text, text
end

return M
