--- `deployrun man`: the manual page, made from the one table of commands and options.

local report = require "native.report"

local M = {}

local function escaped(text)
  return (text:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("…", "..."):gsub("\n%.", "\n\\&."):gsub("^%.", "\\&."))
end

local function option_lines(lines, option)
  local names = "\\fB\\-\\-" .. escaped(option.name) .. "\\fR"
  if option.letter then names = "\\fB\\-" .. option.letter .. "\\fR, " .. names end
  if option.value then names = names .. " \\fI" .. option.value .. "\\fR" end
  lines[#lines + 1] = ".TP\n" .. names
  local words = option.choices and option.choices:gsub("|", ", ") .. ": " or ""
  lines[#lines + 1] = escaped(words .. option.help)
end

--- The options that every command has, and for each command those that only it or some have.
local function sorted_out(commands)
  local count, common, own = {}, {}, {}
  for _, command in ipairs(commands) do
    for _, option in ipairs(command.options) do count[option.name] = (count[option.name] or 0) + 1 end
  end
  for index, command in ipairs(commands) do
    own[index] = {}
    for _, option in ipairs(command.options) do
      if count[option.name] < #commands then
        table.insert(own[index], option)
      elseif index == 1 then
        common[#common + 1] = option
      end
    end
  end
  return common, own
end

--- @param request CliRequest
--- @return string roff
function M.page(request)
  local common, own = sorted_out(request.commands)
  local lines = {
    (".TH DEPLOYRUN 1 \"\" \"deployrun %s\" \"User Commands\""):format(request.info.version),
    ".SH NAME", "deployrun \\- runs deploy recipes, step by step, and undoes them when they fail", ".SH SYNOPSIS",
  }
  for index, command in ipairs(request.commands) do
    if index > 1 then lines[#lines + 1] = ".br" end
    lines[#lines + 1] = ("\\fBdeployrun %s\\fR %s"):format(escaped(command.name), escaped(command.words))
  end
  lines[#lines + 1] = ".SH COMMANDS"
  for index, command in ipairs(request.commands) do
    lines[#lines + 1] = (".TP\n\\fB%s\\fR %s"):format(escaped(command.name), escaped(command.words))
    lines[#lines + 1] = escaped(command.help)
    if #own[index] > 0 then
      lines[#lines + 1] = ".RS"
      for _, option in ipairs(own[index]) do option_lines(lines, option) end
      lines[#lines + 1] = ".RE"
    end
  end
  lines[#lines + 1] = ".SH OPTIONS"
  for _, option in ipairs(common) do option_lines(lines, option) end
  lines[#lines + 1] = ".SH EXIT STATUS"
  local codes = request.help_text:match("Exit codes: (.*)$"):gsub("%s+", " ") .. " · "
  for code, meaning in codes:gmatch("([%d/]+) (.-) · ") do
    lines[#lines + 1] = (".TP\n\\fB%s\\fR\n%s"):format(code, escaped(meaning))
  end
  lines[#lines + 1] = ".SH FILES\n.TP\n\\fB.deployrun/\\fR\nthe journal of runs and the project's secrets"
  return table.concat(lines, "\n")
end

--- @async
--- @param request CliRequest
--- @return integer exit_code
function M.main(request)
  report.text(M.page(request))
  return 0
end

return M
