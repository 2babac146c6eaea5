--- This machine as a host: the calls of deploy/host.lua without SSH.

local engine = require "deploy.host.engine"
local fail = require "native.fail"
local files = require "native.files"
local options = require "deploy.options"
local process = require "native.process"
local sqlite = require "native.sqlite"
local task = require "native.task"

local M = {}

local Local = {}

function Local:_exec(command, given)
  local argv = type(command) == "table" and command or { "sh", "-c", command }
  return process.run(argv, { stdin = given.stdin, env = given.env, check = false, reads = given.reads,
    planned = given.planned, tell = self.name })
end

function Local._prepare_commands() end

--- DOCKER_HOST counts where it names a socket; another machine's engine is reached as a host.
local function local_socket()
  local where = os.getenv("DOCKER_HOST")
  if not where or where == "" then return nil end
  local path = where:match("^unix://(/.+)$")
  if path then return path end
  fail.raise("host.engine", ("DOCKER_HOST=%s: only unix:// is this machine's engine"):format(where),
    { hint = "name the server in the recipe: deploy.host \"user@server\"" })
end

function Local:_docker()
  local transport = self._transport()
  if transport then return transport.docker(self) end
  if not rawget(self, "_engine") then rawset(self, "_engine", engine.here(local_socket())) end
  return rawget(self, "_engine")
end

function Local:upload(from, to, given)
  files.write(to, files.read(from), { mode = given and given.mode or "0644", parents = given and given.make_parents })
end

--- $1 from, $2 to, $3 the folder to make above it or "", $4 "replace" or "". Prints files and bytes.
local COPY_FOLDER = [[
[ -d "$1" ] || { echo "$1: no such folder" >&2; exit 1; }
if [ -n "$3" ]; then mkdir -p "$3" || exit; fi
t=$(mktemp -d "$2.XXXXXXXXXX") && cp -a "$1/." "$t/" && chmod 755 "$t" || exit
if [ -z "$4" ] && [ -d "$2" ]; then cp -a "$t/." "$2/" && rm -rf "$t" || exit
else
  if [ -e "$2" ] || [ -L "$2" ]; then mv "$2" "$t.old" || exit; fi
  mv "$t" "$2" && rm -rf "$t.old" || exit
fi
find "$1" -type f -exec stat -c %s {} + | awk '{ n++; b += $1 } END { printf "%d %d", n, b }']]

function Local:upload_folder(from, to, given)
  given = options.check(given, { replace = { "boolean" }, make_parents = { "boolean" }, on_progress = { "function" } },
    "host:upload_folder")
  local above = given.make_parents and to:match("^(.+)/[^/]+/*$") or ""
  local result = process.run({ "sh", "-c", COPY_FOLDER, "sh", from, (to:gsub("(.)/+$", "%1")), above,
    given.replace and "replace" or "" }, { planned = "0 0" })
  local count, bytes = result.stdout:match("^(%d+) (%d+)$")
  if given.on_progress then given.on_progress { bytes = tonumber(bytes), total_bytes = tonumber(bytes) } end
  return { files = tonumber(count), bytes = tonumber(bytes), ms = result.ms }
end

function Local:download_folder(from, to, given)
  given = options.check(given, { replace = { "boolean" }, limit = { "number" }, on_progress = { "function" } },
    "host:download_folder")
  return self:upload_folder(from, to, { replace = given.replace, on_progress = given.on_progress })
end

function Local:download(from, to) files.write(to, files.read(from)) end

function Local:write(path, bytes, given)
  files.write(path, bytes, { mode = given and given.mode or "0644", parents = given and given.make_parents })
end

function Local:read(path) return files.read(path) end

function Local:stat(path) return files.stat(path) end

function Local:remove(path, given) return files.remove(path, given) end

function Local:_repeatable(work) return work() end

function Local:shell(command)
  command = command or { os.getenv "SHELL" or "/bin/sh" }
  task.sleep(0)  -- what was said is written on the loop's next turn: before the shell draws, not amid it
  return process.shell(type(command) == "table" and command or { "sh", "-c", command }).code
end

function Local:forward_local()
  fail.usage("forward: local is this machine, there is nothing to forward")
end

Local.forward_remote = Local.forward_local

function Local:_http_options(_, given)
  local out = {}
  for key, value in pairs(given or {}) do out[key] = value end
  return out
end

function Local:_sqlite_at(path, given) return sqlite.open(path, given) end

function Local:close()
  self:_close_agents()
  local client = rawget(self, "_engine")
  rawset(self, "_engine", nil)
  if client then client:close() end
end

--- @param Host table  the class whose calls serve here too, where this file has none of its own
--- @param transport fun(): table?  what a spec puts in the place of engines
--- @return Host
function M.new(Host, transport)
  setmetatable(Local, { __index = Host })
  return setmetatable({ name = "local", _spec = {}, _transport = transport }, { __index = function(self, key)
    if key == "docker" then return self:_docker() end
    return Local[key]
  end })
end

return M
