--- `deployrun check RECIPE …`: everything that can be known without a host, all of it at once, each with its place.
--- Exit code 2 when there is something.

local check = require "deploy.check"
local fail = require "native.fail"
local files = require "native.files"
local globals = require "cli.globals"
local recipe = require "cli.recipe"
local report = require "native.report"
local text = require "native.text"

local M = {}

local function add_all(problems, more)
  for _, problem in ipairs(more) do problems[#problems + 1] = problem end
end

local function unknown_globals(path, chunk)
  local problems = {}
  for _, use in ipairs(globals.unknown(chunk)) do
    local column = fail.column(path, use.line, use.name)
    local hint = use.writes and "write `local` before it" or text.nearest_hint(use.name, globals.names())
    if not use.writes and not hint:match("^did you mean") then
      hint = "is it misspelt, or a module that was not required?"
    end
    local where = column and ("%s:%d:%d"):format(path, use.line, column) or ("%s:%d"):format(path, use.line)
    problems[#problems + 1] = fail.make("recipe.global",
      ("%s undeclared global `%s`"):format(use.writes and "assignment to" or "use of", use.name),
      { hint = hint, where = where })
  end
  return problems
end

--- The recipe's own modules that its text requires: a path for each that is there.
local function required(source, folder, seen)
  local paths, tokens = {}, check.tokens(source)
  for index, token in ipairs(tokens) do
    if token.kind == "name" and token.text == "require" then
      local name = tokens[index + 1]
      if name and name.text == "(" then name = tokens[index + 2] end
      local word = name and name.kind == "string" and name.text:match("^[\"']([%w_.-]+)[\"']$")
      for _, place in ipairs(word and { "", "lib/", "lua_modules/share/lua/5.1/" } or {}) do
        for _, ending in ipairs { ".lua", "/init.lua" } do
          local path = ("%s%s%s%s"):format(folder, place, (word:gsub("%.", "/")), ending)
          if not seen[path] and files.exists(path) then
            seen[path] = true
            paths[#paths + 1] = path
          end
        end
      end
    end
  end
  return paths
end

--- What the text of a file and of the files it requires shows.
local function check_file(path, source, chunk, folder, seen, problems)
  add_all(problems, check.problems(path, source))
  add_all(problems, unknown_globals(path, chunk))
  for _, other in ipairs(required(source, folder, seen)) do
    local text_of = files.read(other)
    local compiled = load(text_of, "@" .. other)
    if compiled then check_file(other, text_of, compiled, folder, seen, problems) end
  end
end

local function expanded(path)
  return (path:gsub("^~/", (os.getenv("HOME") or "~") .. "/"))
end

--- Files that the settings name and that are not there.
local function missing_files(app)
  local problems, seen = {}, {}
  local function look(path, what)
    if type(path) ~= "string" or seen[path] or files.exists(expanded(path)) then return end
    seen[path] = true
    problems[#problems + 1] = fail.make("config.invalid",
      ("%s: `%s`: %s is not there"):format(app.config.file, what, path))
  end
  local function look_at(ssh)
    for index, key in ipairs(ssh.keys or {}) do look(key, ("ssh.keys[%d]"):format(index)) end
    look(ssh.known_hosts, "ssh.known_hosts")
  end
  look_at(app.config.ssh or {})
  for _, role in ipairs(app.config.roles or {}) do
    for _, host in ipairs(role.hosts or {}) do
      if type(host) == "table" then look_at(host) end
    end
  end
  return problems
end

local function several_defaults(registry)
  local names = {}
  for _, declared in ipairs(registry.list) do
    if declared.default then names[#names + 1] = "`" .. declared.name .. "`" end
  end
  if #names < 2 then return {} end
  return { fail.make("usage", ("%s are all the default command"):format(table.concat(names, " and "))) }
end

--- Everything that is wrong with a recipe.
--- @async
--- @param path string
--- @return table[] problems  errors, by place
--- @return ReadRecipe found
function M.problems(path)
  local problems = {}
  local found = recipe.read(path)
  if found.chunk then
    check_file(path, found.source, found.chunk, path:match("^(.*/)") or "", { [path] = true }, problems)
  end
  local seen = {}
  for _, problem in ipairs(problems) do seen[(problem.where or ""):match("^[^:]*:%d+") or problem] = true end
  for _, problem in ipairs(found.problems) do
    -- What the text shows already is not told again by the first line that fell over it.
    local at = (problem.where or ""):match("^[^:]*:%d+")
    if not (at and seen[at]) then problems[#problems + 1] = problem end
  end
  for _, app in ipairs(found.apps) do add_all(problems, missing_files(app)) end
  add_all(problems, several_defaults(found.registry))
  if found.chunk and #found.registry.list == 0 and #problems == 0 then
    problems[1] = fail.make("usage", path .. ": declares no command",
      { hint = "declare one: deploy.command \"deploy\" { run = function(run) … end }" })
  end
  return check.sorted(problems), found
end

local function counted(count, what) return ("%d %s%s"):format(count, what, count == 1 and "" or "s") end

--- @async
--- @param request CliRequest
--- @return integer exit_code
function M.main(request)
  local path = request.words[1]
  local problems, found = M.problems(path)
  for _, problem in ipairs(problems) do report.emit { type = "error", error = problem } end
  if #problems > 0 then
    report.emit { type = "log", level = "error", message = ("%s: %s"):format(path, counted(#problems, "problem")) }
    return 2
  end
  local hosts = {}
  for _, app in ipairs(found.apps) do
    for _, host in ipairs(app.hosts) do hosts[host.name] = true end
  end
  local count = 0
  for _ in pairs(hosts) do count = count + 1 end
  report.text(("%s: nothing wrong: %s, %s"):format(path, counted(#found.registry.list, "command"),
    counted(count, "server")))
  return 0
end

return M
