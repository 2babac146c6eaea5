--- `deployrun types DIR`: what lua-language-server needs so that a recipe completes and is checked in an editor: one
--- file of declarations per module in DIR/library, and the addon's config.json (luals.github.io/wiki/addons).

local annotations = require "cli.annotations"
local files = require "native.files"
local json = require "native.json"
local report = require "native.report"

local M = {}

local function comment(lines, text)
  for line in (text .. "\n"):gmatch("(.-)\n") do lines[#lines + 1] = "--- " .. line end
end

local function tag(lines, name, item)
  local what = item.name and name ~= "return" and ("%s%s "):format(item.name, item.optional and "?" or "") or ""
  local after = name == "return" and item.name and " " .. item.name or ""
  local words = item.text ~= "" and (name == "return" and not item.name and " # " or "  ") .. item.text or ""
  lines[#lines + 1] = ("--- @%s %s%s%s%s"):format(name, what, item.type, after, words)
end

local function declare_class(lines, entry)
  if entry.alias then
    lines[#lines + 1] = ("--- @alias %s %s\n"):format(entry.name, entry.alias)
    return
  end
  if entry.text ~= "" then comment(lines, entry.text) end
  lines[#lines + 1] = "--- @class " .. entry.name .. (entry.parent and ": " .. entry.parent or "")
  for _, field in ipairs(entry.fields) do tag(lines, "field", field) end
  for _, operator in ipairs(entry.operators) do lines[#lines + 1] = "--- @operator " .. operator end
  lines[#lines + 1] = ("local %s = {}"):format(entry.name)
  lines[#lines + 1] = ""
end

local function declare(lines, entry)
  if entry.text ~= "" then comment(lines, entry.text) end
  for _, generic in ipairs(entry.generics) do lines[#lines + 1] = "--- @generic " .. generic end
  if entry.async then lines[#lines + 1] = "--- @async" end
  local names = {}
  for index, param in ipairs(entry.params) do
    names[index] = param.name
    tag(lines, "param", param)
  end
  local mark = entry.colon and ":" or "."
  if entry.kind == "function" then
    for _, result in ipairs(entry.returns) do tag(lines, "return", result) end
    lines[#lines + 1] = ("function %s%s%s(%s) end"):format(entry.owner, mark, entry.name, table.concat(names, ", "))
  else
    if entry.returns[1] then lines[#lines + 1] = "--- @type " .. entry.returns[1].type end
    lines[#lines + 1] = ("%s.%s = nil"):format(entry.owner, entry.name)
  end
  lines[#lines + 1] = ""
end

--- What a module hands on from others: `M.app = require("deploy.app").app`.
local function handed_on(lines, module)
  local groups = {}
  for _, handed in ipairs(module.handed) do
    local group = handed.name:match("^(.-)%.")
    if group and not groups[group] then
      lines[#lines + 1] = ("M.%s = {}"):format(group)
      groups[group] = true
    end
    lines[#lines + 1] = ("M.%s = require(%q)%s"):format(handed.name, handed.module,
      handed.field and "." .. handed.field or "")
  end
end

--- The declarations of a module, as a file that is read and never run.
--- @param module Module
--- @param classes table<string, boolean>  the classes that were declared so far; completed
--- @return string
function M.declarations(module, classes)
  local lines = { ("--- @meta %s"):format(module.name), "" }
  if module.text ~= "" then comment(lines, module.text) end
  lines[#lines + 1] = "local M = {}"
  lines[#lines + 1] = ""
  local here = {}
  for _, entry in ipairs(module.entries) do
    if entry.kind == "class" then
      declare_class(lines, entry)
      here[entry.name], classes[entry.name] = true, true
    elseif entry.owner ~= "M" and not here[entry.owner] then
      -- A class that is declared elsewhere, or one that only this file's objects have.
      lines[#lines + 1] = ("--- @class %s\nlocal %s = {}\n"):format(entry.owner, entry.owner)
      here[entry.owner] = true
    end
    if entry.kind ~= "class" then declare(lines, entry) end
  end
  if module.name == "deploy" then handed_on(lines, module) end
  lines[#lines + 1] = "return M"
  return table.concat(lines, "\n") .. "\n"
end

--- Writes DIR/library and DIR/config.json.
--- @async
--- @param folder string
--- @return integer count  modules
function M.write(folder)
  local classes, modules = {}, annotations.all()
  for _, module in ipairs(modules) do
    local path = ("%s/library/%s.lua"):format(folder, (module.name:gsub("%.", "/")))
    files.write(path, M.declarations(module, classes), { mode = "0644", parents = true })
  end
  files.write(folder .. "/config.json", json.encode({
    name = "deployrun", words = { "require[%s%(\"']+deploy[%)\"']" },
    settings = { ["Lua.runtime.version"] = "LuaJIT" },
  }, { pretty = true }) .. "\n", { mode = "0644" })
  return #modules
end

--- @async
--- @param request CliRequest
--- @return integer exit_code
function M.main(request)
  local count = M.write(request.words[1])
  report.text(("%d modules declared in %s/library"):format(count, request.words[1]))
  return 0
end

return M
