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
