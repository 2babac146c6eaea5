--- Words of a POSIX shell's command line: quotes and backslashes, nothing is expanded. And the other way round, as
--- Ruby's Shellwords writes them.

local fail = require "native.fail"

local M = {}

--- Splits a text into words. A `$` outside of single quotes, an operator or a wildcard is for a real shell only:
--- `on_special`, where given, is told of the first one.
--- @param text string
--- @param on_special? fun(what: string)
--- @return string[]
function M.split(text, on_special)
  local words, word, at = {}, nil, 1
  local function special(what)
    if on_special then on_special(what) end
  end
  while at <= #text do
    local char = text:sub(at, at)
    if char:match("%s") then
      if word then words[#words + 1] = word end
      word = nil
      at = at + 1
    elseif char == "'" then
      local close = text:find("'", at + 1, true)
      if not close then fail.usage("a quote that does not end: " .. text) end
      word = (word or "") .. text:sub(at + 1, close - 1)
      at = close + 1
    elseif char == '"' then
      local i, run = at + 1, {}
      while text:sub(i, i) ~= '"' do
        local one = text:sub(i, i)
        if one == "" then fail.usage("a quote that does not end: " .. text) end
        if one == "\\" and text:sub(i + 1, i + 1):match('[$`"\\\n]') then
          one = text:sub(i + 1, i + 1)
          i = i + 1
          if one == "\n" then one = "" end
        elseif one == "$" or one == "`" then
          special(one)
        end
        run[#run + 1] = one
        i = i + 1
      end
      word = (word or "") .. table.concat(run)
      at = i + 1
    elseif char == "\\" then
      word = (word or "") .. text:sub(at + 1, at + 1)
      at = at + 2
    else
      if char:match("[$`;|&<>()*?%[]") then special(char) end
      word = (word or "") .. char
      at = at + 1
    end
  end
  if word then words[#words + 1] = word end
  return words
end

--- A word that a shell reads back as it is.
--- @param text string
--- @return string
function M.escape(text)
  if text == "" then return "''" end
  return (text:gsub("[^%w_%-.,:+/@\n]", "\\%0"):gsub("\n", "'\n'"))
end

return M
