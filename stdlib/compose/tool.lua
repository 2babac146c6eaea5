--- The server's own `docker compose` (version 2, or 1 where that is what it has), and what it is told. It makes,
--- recreates and runs; what runs is started, stopped and looked at through the engine's interface.

local door = require "native.door"
local fail = require "native.fail"
local report = require "native.report"
local text = require "native.text"

local M = {}

M.FOLDER = ".deployrun/compose"

--- @class ComposeTool  what a server has
--- @field argv string[]     {"docker", "compose"} or {"docker-compose"}
--- @field version string
--- @field home string
--- @field folders string[]  of projects

-- $0 is the folder of projects. What has no compose.json was cut off while it came or went, and is no project.
local LOOK = [[
printf 'home %s\n' "$HOME"
if v=$(docker compose version --short 2>/dev/null); then echo "compose docker $v"
elif v=$(docker-compose version --short 2>/dev/null); then echo "compose docker-compose $v"; fi
cd "$HOME/$0" 2>/dev/null || exit 0
for d in *; do [ -f "$d/compose.json" ] && echo "folder $d"; done
for f in *.stays; do [ -f "$f" ] && echo "stays ${f%.stays} $(cat "$f")"; done
exit 0]]

M._LOOK = LOOK

-- $1: the beginning of the folders of projects; $2: seconds until what still runs there is told to end, 10 more until
-- it is killed.
local LET_END = [[
running() {
  head -c 8192 /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | awk -v begin="$1" '
    /^==> \/proc\/[0-9]+\/cmdline <==$/ { split($2, parts, "/"); pid = parts[3]; is_folder = 0; next }
    is_folder && index($0, begin) == 1 { print pid }
    { is_folder = $0 == "--project-directory" }'
}
seconds=0
while pids=$(running "$1"); [ -n "$pids" ]; do
  [ "$seconds" -lt $(($2 + 20)) ] || { echo "docker compose does not end: process" $pids >&2; exit 1; }
  if [ "$seconds" -ge $(($2 + 10)) ]; then kill -s KILL $pids
  elif [ "$seconds" -ge "$2" ]; then kill -s TERM $pids; fi 2>/dev/null
  seconds=$((seconds + 1))
  sleep 1
done]]

M._LET_END = LET_END

--- @param said string  what LOOK printed
--- @return ComposeTool?  nil: no Compose there
function M.parse(said)
  local out = { folders = {}, stays = {}, home = "" }
  for line in said:gmatch("[^\r\n]+") do
    local key, rest = line:match("^(%S+) (.*)$")
    if key == "home" then out.home = rest end
    if key == "folder" then out.folders[#out.folders + 1] = rest end
    if key == "stays" then
      local service, project = rest:match("^(%S+) (%S+)$")
      if service then out.stays[service] = project end
    end
    if key == "compose" then
      local program, version = rest:match("^(%S+) v?(%S+)")
      out.argv = program == "docker" and { "docker", "compose" } or { program }
      out.version = version
    end
  end
  return out
end

--- What a server has. Raises `compose.missing`.
--- @async
--- @param host Host
--- @return ComposeTool
function M.look(host)
  local found = M.parse(host:exec({ "sh", "-c", LOOK, M.FOLDER }, { reads = true }).stdout)
  if found.argv then return found end
  if door.is_kept() and found.home == "" then  -- a spec that tells nothing of it
    return { argv = { "docker", "compose" }, version = "2", home = "/root", folders = {}, stays = {} }
  end
  fail.raise("compose.missing", ("%s has neither `docker compose` nor `docker-compose`"):format(host.name),
    { host = host.name, hint = "install docker-compose-plugin (or Debian's docker-compose)" })
end

--- Where a project's files are.
--- @param tool ComposeTool
--- @param project string
--- @return string
function M.folder(tool, project) return ("%s/%s/%s"):format(tool.home, M.FOLDER, project) end

--- Lets commands come to their end that a server's Compose goes on with although nobody waits for them any more,
--- because a connection was cut or a process killed: what they make would come after an undo has looked.
--- Raises `compose.command` where they do not end.
--- @async
--- @param host Host
--- @param tool ComposeTool
--- @param projects string   how the names of the projects begin
--- @param patience integer  seconds, then they are ended
function M.let_end(host, tool, projects, patience)
  if door.is_kept() then return end
  report.waiting(host, "docker compose to end", patience * 1000)
  local argv = { "sh", "-c", LET_END, "sh", M.folder(tool, projects), tostring(patience) }
  local result = host:exec(argv, { check = false })
  if result.code == 0 then return end
  fail.raise("compose.command", text.clean(result.stderr):gsub("%s+$", ""), { host = host.name, code = result.code,
    stderr = text.clean(result.stderr), hint = "it goes on with an earlier deploy: end it, then try again" })
end

--- @class ComposeProject  where a command is run and with what
--- @field name string
--- @field folder string
--- @field env table<string, any>   values of variables, secrets too: they travel by standard input
--- @field containers { name: string, image: string, labels: table, networks: string[] }[]  what an `up` makes
local Project = {}
Project.__index = Project

--- @param tool ComposeTool
--- @param given { name: string, file_of: string, env: table, containers?: table[] }  file_of: the folder's name
--- @return ComposeProject
function M.project(tool, given)
  return setmetatable({ _tool = tool, name = given.name, folder = M.folder(tool, given.file_of), env = given.env,
    containers = given.containers or {} }, Project)
end

function Project:_run(host, words, options)
  options = options or {}
  local argv = { unpack(self._tool.argv) }
  for _, word in ipairs { "--project-name", self.name, "--project-directory", self.folder, "--file",
    self.folder .. "/compose.json" } do
    argv[#argv + 1] = word
  end
  for _, word in ipairs(words) do argv[#argv + 1] = word end
  local result = host:exec(argv, { env = self.env, check = false, timeout = options.timeout })
  if result.code == 0 or options.check == false then return result end
  local said = text.clean(result.stderr):gsub("%s+$", "")
  local last = said:match("([^\r\n]+)$") or ""
  fail.raise("compose.command", ("docker compose %s: exit code %s%s"):format(words[1], tostring(result.code),
    last ~= "" and ": " .. last or ""), { host = host.name, code = result.code, stderr = said,
    command = text.shell_join(argv) })
end

--- Makes and starts services; those that are as they should be are left alone.
--- @async
--- @param host Host
--- @param services string[]  none: all of the file
--- @param options? { alone?: boolean, timeout?: string }  alone: not what they depend on
function Project:up(host, services, options)
  options = options or {}
  local words = { "up", "--detach", "--no-build" }
  if options.alone then words[#words + 1] = "--no-deps" end
  for _, name in ipairs(services) do words[#words + 1] = name end
  report.waiting(host, "docker compose up", text.parse_duration(options.timeout or "5m"))
  self:_run(host, words, { timeout = options.timeout or "5m" })
end

--- Makes the containers of services and starts none.
--- @async
--- @param host Host
--- @param services string[]
function Project:create(host, services)
  self:_run(host, { "up", "--no-start", "--no-build", unpack(services) }, { timeout = "5m" })
end

local function one_off(service, command, options)
  local words, names = { "--no-deps", "--name", options.name, "--label", options.label }, {}
  for name in pairs(options.env) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    words[#words + 1] = "-e"
    words[#words + 1] = ("%s=%s"):format(name, tostring(options.env[name]))
  end
  words[#words + 1] = service
  for _, word in ipairs(command) do words[#words + 1] = word end
  return words
end

--- Begins a command in a container of a service that is there for that alone, and goes on at once. The container stays
--- when it has ended.
--- @async
--- @param host Host
--- @param service string
--- @param command string[]
--- @param options { name: string, label: string, env: table<string, any> }
function Project:begin(host, service, command, options)
  self:_run(host, { "run", "--detach", unpack(one_off(service, command, options)) }, { timeout = "5m" })
end

--- Runs a command in a container of a service that is there for that alone. Any exit code is a result.
--- @async
--- @param host Host
--- @param service string
--- @param command string[]
--- @param options { name: string, label: string, timeout: string, env: table<string, any> }
--- @return { stdout: string, stderr: string, code: integer, ms: number }
function Project:run(host, service, command, options)
  local words = { "run", "--rm", "-T", unpack(one_off(service, command, options)) }
  return self:_run(host, words, { timeout = options.timeout, check = false })
end

door.guard("compose", Project, { reads = {} })

return M
