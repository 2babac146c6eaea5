--- `deployrun repl [RECIPE]`: Lua line by line in a recipe's environment, inside a task, so that whatever waits may be
--- called at the prompt. Without a terminal it reads the lines of standard input and prints no prompt.

local fail = require "native.fail"
local files = require "native.files"
local recipe = require "cli.recipe"
local report = require "native.report"
local task = require "native.task"

local M = {}

local SHOWN_DEPTH = 3
local CLOSE_DEADLINE = 10000  -- ms for saying goodbye to hosts

local function shown(value, depth)
  if type(value) == "string" then return ("%q"):format(value):gsub("\\\n", "\\n") end
  if type(value) ~= "table" or depth > SHOWN_DEPTH then return tostring(value) end
  local parts, count = {}, 0
  for index, item in ipairs(value) do
    parts[index] = shown(item, depth + 1)
    count = index
  end
  local names = {}
  for key in pairs(value) do
    local in_list = type(key) == "number" and key >= 1 and key <= count and key == math.floor(key)
    if not in_list then names[#names + 1] = key end
  end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  for _, key in ipairs(names) do
    local name = type(key) == "string" and key:match("^[%a_][%w_]*$") or ("[%s]"):format(shown(key, SHOWN_DEPTH))
    if not (type(key) == "string" and key:sub(1, 1) == "_") then
      parts[#parts + 1] = ("%s = %s"):format(name, shown(value[key], depth + 1))
    end
  end
  return #parts == 0 and "{}" or "{ " .. table.concat(parts, ", ") .. " }"
end

--- The text as a function: an expression as what it is worth; nil and a message, and whether more lines could mend it.
--- @param source string
--- @param env table
--- @return function? chunk
--- @return string? message
--- @return boolean? unfinished
function M.compile(source, env)
  local chunk = load("return " .. source, "=prompt", "t", env)
  if chunk then return chunk end
  local message
  chunk, message = load(source, "=prompt", "t", env)
  if chunk then return chunk end
  return nil, message, message:match("near '?<eof>'?") ~= nil
end

--- What the prompt sees: the recipe's globals, `deploy`, `commands`, the values of earlier lines; it may make new ones.
--- @param found? ReadRecipe
--- @return table
function M.environment(found)
  local env = { deploy = require "deploy", commands = {} }
  for name in pairs(env.deploy._later) do assert(env.deploy[name]) end  -- so that the tab key knows them
  env.print = function(...)
    local words = {}
    for i = 1, select("#", ...) do words[i] = tostring((select(i, ...))) end
    report.text(table.concat(words, "\t"))
  end
  for _, declared in ipairs(found and found.registry.list or {}) do env.commands[declared.name] = declared end
  if found and found.apps[1] then env.app, env.apps = found.apps[1], found.apps end
  return setmetatable(env, { __index = function(_, name) return name ~= "_" and _G[name] or nil end })
end

local function packed(...) return { ... }, select("#", ...) end

local function evaluate(source, env)
  local chunk, message, unfinished = M.compile(source, env)
  if not chunk then
    if unfinished then return "more" end
    report.emit { type = "error", error = fail.make("recipe.syntax", (message:gsub("^prompt:", "line "))) }
    return "failed"
  end
  local results, count = packed(pcall(chunk))
  if not results[1] then
    if task.cancellation() then error(task.cancellation(), 0) end
    report.emit { type = "error", error = fail.normal(results[2]) }
    return "failed"
  end
  env._ = results[2]
  local words = {}
  for i = 2, count do words[#words + 1] = shown(results[i], 1) end
  if #words > 0 then report.text(table.concat(words, "\t")) end
  return "done"
end

--- Reads until the end; a line that does not compile because something is missing goes on in the next one. Ctrl-C
--- leaves what was typed of it.
--- @async
--- @param next_line fun(prompt: string): string?
--- @param env table
--- @return boolean ok  no line failed
function M.loop(next_line, env)
  local pending, ok = "", true
  while true do
    local typed, line = pcall(next_line, pending == "" and "> " or ">> ")
    if not typed and fail.normal(line).kind ~= "console.interrupted" then error(line, 0) end
    if typed and line == nil then break end
    pending = not typed and "" or pending == "" and line or pending .. "\n" .. line
    if pending:match("%S") then
      local outcome = evaluate(pending, env)
      if outcome ~= "more" then pending = "" end
      if outcome == "failed" then ok = false end
    else
      pending = ""
    end
  end
  if pending ~= "" then
    ok = false
    report.emit { type = "error", error = fail.make("recipe.syntax", "the input ends inside a statement") }
  end
  return ok
end

--- What may stand where `text` begins: names of the environment, or fields and methods of what stands before the last
--- dot or colon. Looks at plain fields alone, so that nothing is connected to.
--- @param text string
--- @param env table
--- @return string[]
function M.complete(text, env)
  local before, mark, start = text:match("^(.-)([.:]?)([%w_]*)$")
  local holders = { env, _G }
  if mark ~= "" then
    local value = env
    for part in before:gmatch("[%w_]+") do
      local found = type(value) == "table" and rawget(value, part)
      if found == nil and value == env then found = rawget(_G, part) end
      value = found
    end
    holders = { value }
    local meta = type(value) == "table" and getmetatable(value)
    if type(meta) == "table" then
      holders[2] = type(rawget(meta, "__index")) == "table" and rawget(meta, "__index") or meta
    end
  end
  local names, seen = {}, {}
  for _, holder in ipairs(holders) do
    for name in pairs(type(holder) == "table" and holder or {}) do
      if type(name) == "string" and name:match("^%a[%w_]*$") and name:sub(1, #start) == start and not seen[name] then
        seen[name] = true
        names[#names + 1] = before .. mark .. name
      end
    end
  end
  table.sort(names)
  return names
end

--- Where what was typed is kept: $XDG_STATE_HOME/deployrun/repl_history; nothing where there is no such folder.
--- @async
--- @return string
function M.history_file()
  local state = os.getenv "XDG_STATE_HOME" or (os.getenv "HOME" and os.getenv "HOME" .. "/.local/state")
  if not state then return "" end
  local ok = pcall(files.mkdir, state .. "/deployrun", { mode = "0700" })
  return ok and state .. "/deployrun/repl_history" or ""
end

--- @async
--- @param request CliRequest
--- @return integer exit_code
function M.main(request)
  local found
  local path = request.words[1]
  if path then
    found = recipe.read(path)
    for _, problem in ipairs(found.problems) do report.emit { type = "error", error = problem } end
    if not found.chunk then return 2 end
  end
  if request.terminal then
    report.text(("deployrun %s: Lua in %s. `app`, `commands`, `deploy`; Ctrl-C leaves a line, Ctrl-D ends."):format(
      request.info.version, path or "an empty recipe"))
  end
  local env = M.environment(found)
  local console = require("native.console").open { terminal = request.terminal, history = M.history_file(),
    complete = function(text) return M.complete(text, env) end }
  local ok = M.loop(function(prompt)
    task.sleep(0)  -- what was said is written on the loop's next turn: before the prompt, not behind it
    return console:line(prompt)
  end, env)
  console:close()
  pcall(task.shielded, CLOSE_DEADLINE, "closing connections", function() require("deploy.host").close_all() end)
  return (ok or request.terminal) and 0 or 1
end

return M
