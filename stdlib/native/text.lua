--- Small rules about text: durations, names that are nearly right, words for a shell, output made fit to print.

local raw = require "native.text.raw"

local M = {}

--- Milliseconds of a duration with a unit: "500ms", "10m", "1h30m". Raises `usage`.
--- @param text string
--- @return number ms
M.parse_duration = raw.parse_duration

--- Milliseconds of an option that may be absent; raises `usage` naming the option.
--- @param value string?
--- @param name string   how the option is called, for the message
--- @return number? ms
function M.duration_option(value, name)
  if value == nil then return nil end
  if type(value) ~= "string" then
    error({ kind = "usage", message = name .. ": expected a duration such as \"30s\", got a " .. type(value),
      token = name }, 0)
  end
  local ok, parsed = pcall(raw.parse_duration, value)
  if ok then return parsed end
  parsed.message = name .. ": " .. parsed.message
  error(parsed, 0)
end

--- "4.2 s", "3 min 5 s": for people.
--- @param ms number
--- @return string
M.format_duration = raw.format_duration

--- Days from 1970-01-01 to a date of the Gregorian calendar.
local function days_to(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  return 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
    + math.floor((153 * (month - 3) + 2) / 5) + day - 719469
end

--- Seconds since 1970 of a time in UTC, as engines, events and backups write it: "2026-11-27T14:32:42.105Z",
--- "20261127T143242"; nil where it is none. Not by `os.time`, which takes them for the local zone's.
--- @param text any
--- @return number? seconds
function M.parse_time(text)
  local year, month, day, hour, min, sec, rest = tostring(text):match(
    "^(%d%d%d%d)%-?(%d%d)%-?(%d%d)T?(%d%d):?(%d%d):?(%d%d)(.*)$")
  if not year then return nil end
  return days_to(tonumber(year), tonumber(month), tonumber(day)) * 86400 + tonumber(hour) * 3600 + tonumber(min) * 60
    + tonumber(sec) + (tonumber(rest:match("^%.%d+")) or 0)
end

--- `did you mean 'x'?` where one of the names is near, else the list of what is known.
--- @param name string
--- @param names string[]
--- @return string hint  may be empty
M.nearest_hint = raw.nearest_hint

--- A command as one line that a POSIX shell reads back word by word.
--- @param argv string[]
--- @return string
M.shell_join = raw.shell_join

--- Text from elsewhere without control sequences and invalid UTF-8.
--- @param text string
--- @return string
M.clean = raw.clean

--- SHA-256 in lower-case hex, to tell whether two texts are the same; not for passwords.
--- @param text string
--- @return string hex
M.sha256 = raw.sha256

--- Base64 (RFC 4648 §4), padded, in one line.
--- @param bytes string
--- @return string
M.base64_encode = raw.base64_encode

--- What Base64 stands for; nil where it is none.
--- @param text string
--- @return string? bytes
M.base64_decode = raw.base64_decode

return M
