--- `deployrun doc [NAME]`: what the comments of the stdlib say about a function, a class, a module or one of our own
--- commands; `--write DIR`: all of it as Markdown.

local annotations = require "cli.annotations"
local fail = require "native.fail"
local files = require "native.files"
local markdown = require "cli.markdown"
local report = require "native.report"
local text = require "native.text"

local M = {}

--- @class CliRequest
--- @field words string[]    what followed the command
--- @field options table<string, string>  the options that were given, by name; a flag has an empty text
--- @field commands table[]  the one table of commands and options (runtime/cli/table.cpp)
--- @field help_text string
--- @field folder string    the current one
--- @field json boolean
--- @field terminal boolean  a person sits at both ends
--- @field info table        recipe, user, host, actor, version

local function paragraph(lines, items, title)
  if #items == 0 then return end
  lines[#lines + 1] = ""
  lines[#lines + 1] = title
  local width = 0
  local left = {}
  for index, item in ipairs(items) do
    left[index] = (item.name or "") .. (item.optional and "?" or "")
    width = math.max(width, #left[index])
  end
  for index, item in ipairs(items) do
    local name = left[index] .. (" "):rep(width - #left[index])
    lines[#lines + 1] = ("  %s  %s%s"):format(name, item.type, item.text ~= "" and "  " .. item.text or "")
  end
end

local function shown(entry)
  local lines = { annotations.spelled(entry) .. (entry.parent and " : " .. entry.parent or "") }
  if entry.text ~= "" then
    for line in (entry.text .. "\n"):gmatch("(.-)\n") do lines[#lines + 1] = line == "" and "" or "  " .. line end
  end
  paragraph(lines, entry.params, "parameters")
  paragraph(lines, entry.returns, entry.kind ~= "function" and "is" or "returns")
  paragraph(lines, entry.fields, "fields")
  if entry.async then
    lines[#lines + 1] = ""
    lines[#lines + 1] = "waits: only inside a task"
  end
  lines[#lines + 1] = ("from %s, stdlib/%s:%d"):format(entry.module, entry.file, entry.line)
  return table.concat(lines, "\n")
end

--- By which names an entry is found: `exec`, `Session:exec`, `native.ssh.connect`, `ssh.connect`.
local function names_of(entry)
  local owner = entry.owner == "M" and entry.module or entry.owner
  if entry.kind == "class" then return { entry.name } end
  local names = { entry.name, ("%s.%s"):format(owner, entry.name), ("%s:%s"):format(owner, entry.name) }
  if entry.owner == "M" then
    local short = entry.module:match("[^.]+$")
    names[#names + 1] = ("%s.%s"):format(short, entry.name)
  else
    names[#names + 1] = ("%s:%s"):format(owner:lower(), entry.name)
    names[#names + 1] = ("%s.%s"):format(owner:lower(), entry.name)
  end
  return names
end

--- What `require "deploy"` hands on is documented where it is made: deploy.app is the function of deploy/app.lua.
local function follow(handed, modules)
  for _, module in ipairs(modules) do
    if module.name == handed.module then
      if not handed.field then return nil, module end
      for _, entry in ipairs(module.entries) do
        if entry.name == handed.field and entry.owner == "M" then return entry end
      end
    end
  end
end

--- Entries and modules that a name may mean, the exact spelling before the bare one.
--- @param modules Module[]
--- @param name string
--- @return Entry[] entries
--- @return Module[] modules
function M.find(modules, name)
  local exact, loose, whole = {}, {}, {}
  for _, module in ipairs(modules) do
    if module.name == name or module.name:match("[^.]+$") == name then whole[#whole + 1] = module end
    for _, entry in ipairs(module.entries) do
      for index, known in ipairs(names_of(entry)) do
        if known == name then
          table.insert((index > 1 or entry.kind == "class") and exact or loose, entry)
          break
        end
      end
    end
    for _, handed in ipairs(module.handed) do
      if name == ("%s.%s"):format(module.name, handed.name) then
        local entry, target = follow(handed, modules)
        if target then whole[#whole + 1] = target end
        if entry then exact[#exact + 1] = entry end
      end
    end
  end
  return #exact > 0 and exact or loose, whole
end

local function known_names(modules, commands)
  local names, seen = {}, {}
  local function add(name)
    if not seen[name] then names[#names + 1] = name end
    seen[name] = true
  end
  for _, command in ipairs(commands) do add(command.name) end
  for _, module in ipairs(modules) do
    add(module.name)
    for _, entry in ipairs(module.entries) do
      for _, name in ipairs(names_of(entry)) do add(name) end
    end
  end
  return names
end

local function shown_module(module)
  local lines = { "module " .. module.name, "" }
  for line in (module.text .. "\n"):gmatch("(.-)\n") do lines[#lines + 1] = "  " .. line end
  lines[#lines + 1] = ""
  for _, entry in ipairs(module.entries) do
    local first = entry.text:match("^[^\n]*")
    lines[#lines + 1] = ("  %-44s %s"):format(annotations.spelled(entry), first)
  end
  return table.concat(lines, "\n")
end

local function shown_command(command)
  local lines = { ("deployrun %s %s"):format(command.name, command.words), "  " .. command.help, "", "options" }
  for _, option in ipairs(command.options) do
    lines[#lines + 1] = ("  %-22s %s"):format("--" .. option.name .. (option.value and " " .. option.value or ""),
      option.help)
  end
  return table.concat(lines, "\n")
end

local function write_all(modules, folder)
  files.write(folder .. "/README.md", markdown.index(modules), { mode = "0644", parents = true })
  for _, module in ipairs(modules) do
    files.write(("%s/%s.md"):format(folder, module.name), markdown.page(module), { mode = "0644" })
  end
  report.text(("%d pages in %s"):format(#modules + 1, folder))
end

--- @async
--- @param request CliRequest
--- @return integer exit_code
function M.main(request)
  local modules = annotations.all()
  if request.options.write then
    write_all(modules, request.options.write)
    return 0
  end
  local name = request.words[1]
  if not name then
    local lines = { "deployrun doc NAME: a module, a function, a class or a command", "" }
    for _, module in ipairs(modules) do
      lines[#lines + 1] = ("  %-24s %s"):format(module.name, (module.text:match("^[^\n]*")))
    end
    report.text(table.concat(lines, "\n"))
    return 0
  end
  local parts = {}
  for _, command in ipairs(request.commands) do
    if command.name == name then parts[#parts + 1] = shown_command(command) end
  end
  local entries, whole = M.find(modules, name)
  for _, module in ipairs(whole) do parts[#parts + 1] = shown_module(module) end
  for _, entry in ipairs(entries) do parts[#parts + 1] = shown(entry) end
  if #parts == 0 then
    local err = fail.make("usage", ("nothing is called `%s`"):format(name),
      { hint = text.nearest_hint(name, known_names(modules, request.commands)), token = name })
    report.emit { type = "error", error = err }
    return 2
  end
  report.text(table.concat(parts, "\n\n"))
  return 0
end

return M
