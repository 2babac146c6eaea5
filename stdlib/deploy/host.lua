--- Servers: one object per server, connected on first use, ONE connection for the whole run, whoever uses it. The same
--- calls work on this machine without SSH.

local engine = require "deploy.host.engine"
local fail = require "native.fail"
local host_agents = require "deploy.host.agents"
local http = require "native.http"
local localhost = require "deploy.host.localhost"
local log = require "native.log"
local once = require "deploy.host.make_once"
local options = require "deploy.options"
local report = require "native.report"
local ssh = require "native.ssh"
local starting = require "deploy.host.starting"
local task = require "native.task"
local text = require "native.text"

local M = {}

--- @class Host
--- @field name string    unique; how it is called everywhere
--- @field docker Docker  the engine there; connects on first use

local known = {}  -- name → host, in this program's only VM
local transport   -- instead of connections and engines, for specs

local SPEC = {
  address = { "string", required = true }, name = { "string" }, user = { "string" }, port = { "integer" },
  keys = { "table" }, key_data = { "table|function" }, keys_only = { "boolean" }, known_hosts = { "string|table" },
  accept_new = { "boolean" }, config = { "boolean|string" }, jump = { "string|table" }, proxy_command = { "string" },
  passphrase = { "string|userdata" }, docker_socket = { "string" }, connect_timeout = { "duration" },
}
local EXEC = { stdin = { "string|userdata" }, env = { "table" }, timeout = { "duration" }, check = { "boolean" },
  reads = { "boolean" }, planned = { "string" }, repeatable = { "boolean" } }
local STDERR_KEPT = 4096

local Host = {}

--- Fields that need a connection come into being when they are asked for.
Host.__index = function(self, key)
  if key == "docker" then return self:_docker() end
  return Host[key]
end

local function parse(spec)
  if type(spec) ~= "string" then return spec end
  local user, rest = spec:match("^([^@]+)@(.+)$")
  rest = rest or spec
  local address, port = rest:match("^%[([^%]]+)%]:(%d+)$")
  if not address then address, port = rest:match("^([^:]+):(%d+)$") end
  address = address or rest:match("^%[([^%]]+)%]$") or rest
  if address == "" or address:find("[%s/]") then
    fail.usage(("`%s` is no server: expected user@address:port"):format(spec))
  end
  return { address = address, user = user, port = tonumber(port) }
end

--- A server by "user@address:port" or by a table. The same name is the same object.
--- @param spec string|table
--- @param defaults? table   what the table may say, for all servers of an app
--- @param secrets? Secrets  where the name of a passphrase is looked up
--- @return Host
function M.host(spec, defaults, secrets)
  if spec == "localhost" or spec == "local" then return M.localhost end
  if type(spec) ~= "string" and type(spec) ~= "table" then
    fail.usage("deploy.host: expected a text or a table, got a " .. type(spec))
  end
  local merged = {}
  for key, value in pairs(defaults or {}) do merged[key] = value end
  for key, value in pairs(parse(spec)) do merged[key] = value end
  options.check(merged, SPEC, "deploy.host")
  if type(merged.passphrase) == "string" and secrets then merged.passphrase = secrets:get(merged.passphrase) end
  local name = merged.name or merged.address .. (merged.port and merged.port ~= 22 and ":" .. merged.port or "")
  if name == M.localhost.name then
    fail.usage("no server can be called " .. name, { hint = "this machine is; give it another name", token = name })
  end
  local known_host = known[name]
  if not known_host then
    known[name] = setmetatable({ name = name, _spec = merged }, Host)
  elseif (known_host._spec.user or "") ~= (merged.user or "") or known_host._spec.address ~= merged.address
    or (known_host._spec.port or 22) ~= (merged.port or 22) then
    fail.usage(("two servers are called %s"):format(name), { hint = "give one of them another name", token = name })
  end
  return known[name]
end

--- Several at once.
--- @param specs (string|table)[]
--- @return Host[]
function M.hosts(specs)
  local out = {}
  for index, spec in ipairs(specs) do out[index] = M.host(spec) end
  return out
end

local real_hosts
local on_connect  -- told of each new connection, before anybody uses it

--- @param fn fun(host: Host, session: SshSession)?  what it raises, the connection fails with; nil: nobody
function M.set_on_connect(fn) on_connect = fn end

--- How hosts are reached from now on, none of them known yet; nil: over SSH, and this machine's engine through its
--- socket, as before.
--- @param new { session: fun(host: Host): SshSession, docker: fun(host: Host): Docker }?
function M.set_transport(new)
  if new and not transport then real_hosts, known = known, {} end
  if not new and transport then known = real_hosts end
  transport = new
end

local function connect(self)
  local spec, began = self._spec, task.now()
  -- Private keys that lie in no file; as a function where looking them up takes a while.
  local key_data = spec.key_data
  if type(key_data) == "function" then key_data = key_data() end
  local given = {
    user = spec.user, port = spec.port, identity = spec.keys, identity_data = key_data,
    identities_only = spec.keys_only, passphrase = spec.passphrase,
    known_hosts = spec.known_hosts, host_keys = spec.accept_new and "accept-new" or nil, ssh_config = spec.config,
    connect_timeout = spec.connect_timeout, jump = spec.jump, proxy_command = spec.proxy_command,
  }
  local session = starting.connect(function() return ssh.connect(spec.address, given) end)
  session.host = self.name
  report.emit { type = "ssh.connected", host = self.name, address = session.name,
    ms = math.floor(task.now() - began + 0.5) }
  if on_connect then
    local ok, err = pcall(on_connect, self, session)
    if not ok then
      self:_close_agents()
      session:close()
      error(err, 0)
    end
  end
  return session
end

local function disconnect(self, session)
  local stats = session:stats()
  session:close()
  report.emit { type = "ssh.closed", host = self.name, address = session.name, round_trips = stats.round_trips,
    bytes_in = stats.bytes_in, bytes_out = stats.bytes_out }
end

--- The connection; a lost one is made anew, for whoever comes next.
function Host:_session()
  if transport then return transport.session(self) end
  local session = rawget(self, "_ssh")
  if session and not session:alive() then
    rawset(self, "_ssh", nil)
    rawset(self, "_engine", nil)
  end
  return once(self, "_ssh", function() return connect(self) end)
end

--- What may be done twice is done once more, over a new connection, where the connection was lost in the middle.
function Host:_repeatable(work)
  local session = self:_session()
  local ok, value = pcall(work, session)
  if ok then return value end
  local lost = fail.comes_from(value, "ssh.lost")
  if not lost or task.cancellation() or self:_session() == session then error(value, 0) end
  log.info(("%s: the connection was lost; once more over a new one"):format(self.name), { host = self.name })
  return work(self:_session())
end

function Host:_docker()
  if transport then return transport.docker(self) end
  local session = self:_session()
  if not rawget(self, "_engine") then
    rawset(self, "_engine", engine.over(session, self._spec.docker_socket, self.name))
  end
  return rawget(self, "_engine")
end

local function words_of(command) return type(command) == "table" and text.shell_join(command) or command end

local function title(command) return type(command) == "table" and tostring(command[1]) or "sh" end

local function check(self, command, result)
  if result.code == 0 then return end
  local said = text.clean(result.stderr:sub(-STDERR_KEPT))
  local words = words_of(command)
  local last = said:match("([^\r\n]+)%s*$")
  local ending = result.signal and "ended by signal " .. result.signal or "exit code " .. result.code
  fail.raise("host.exit", ("%s: %s%s"):format(title(command), ending, last and ": " .. last or ""),
    { host = self.name, code = result.code, signal = result.signal, command = words, stderr = said })
end

function Host:_exec(command, given, repeatable)
  given.tell = self.name
  local function work(session) return session:exec(command, given) end
  if repeatable or given.reads then return self:_repeatable(work) end
  return work(self:_session())
end

--- Runs a command there. A table is words that no shell splits; a text is run by `sh -c`.
--- Raises `host.exit` for a code other than 0 (unless `check = false`), `timeout`, and what the connection raises.
--- @async
--- @param command string[]|string
--- @param given? { stdin?: string|Secret, env?: table, timeout?: string, check?: boolean, reads?: boolean,
---   planned?: string, repeatable?: boolean }  reads: it changes nothing, so that a plan runs it; planned: what it is
---   taken to print in a plan that does not run it; repeatable: it may run twice, and does where the connection is lost
---   in the middle (what reads may always)
--- @return { stdout: string, stderr: string, code: integer, ms: number }
function Host:exec(command, given)
  given = options.check(given, EXEC, "host:exec")
  local limit = text.duration_option(given.timeout, "host:exec, timeout")
  report.command(self, words_of(command))
  local result = task.within(limit, ("%s on %s"):format(title(command), self.name), function()
    return self:_exec(command,
      { stdin = given.stdin, env = given.env, reads = given.reads, planned = given.planned }, given.repeatable)
  end)
  report.command_ended(self, result)
  if given.check ~= false then check(self, command, result) end
  return result
end

--- So many commands follow the next question to the engine, one after the other: their channels are opened meanwhile.
--- @async
--- @param count integer
function Host:_prepare_commands(count)
  if not transport then self:_session():prepare_commands(count) end
end

--- Sends a file; it replaces the one there in one moment, after both ends agreed on its SHA-256. A large one that was
--- cut goes on where it stopped.
--- @async
--- @param from string  local path
--- @param to string
--- @param given? { mode?: string, owner?: string, make_parents?: boolean, on_progress?: fun(progress: SshProgress) }
--- @return { bytes: integer, mode: string, ms: number } result
function Host:upload(from, to, given)
  return self:_repeatable(function(session) return session:upload(from, to, given) end)
end

--- Sends a folder with all that is in it, as one stream. With `replace` the one there gives way as a whole, in one
--- moment; otherwise files are added to it.
--- @async
--- @param from string  local folder
--- @param to string
--- @param given? SshFolderOptions
--- @return { files: integer, bytes: integer, ms: number }
function Host:upload_folder(from, to, given) return self:_session():upload_folder(from, to, given) end

--- Fetches a file; it replaces the local one in one moment, after both ends agreed on its SHA-256. A large one that was
--- cut goes on where it stopped.
--- @async
--- @param from string
--- @param to string  local path
--- @param given? { on_progress?: fun(progress: SshProgress) }
--- @return { bytes: integer, mode: string, ms: number } result
function Host:download(from, to, given)
  return self:_repeatable(function(session) return session:download(from, to, given) end)
end

--- Fetches a folder with all that is in it, as one stream, into a new folder or (without `replace`) into the one here.
--- @async
--- @param from string
--- @param to string  local folder
--- @param given? { replace?: boolean, limit?: integer, on_progress?: fun(progress: SshProgress) }  limit: bytes
--- @return { files: integer, bytes: integer, ms: number }
function Host:download_folder(from, to, given)
  return self:_repeatable(function(session) return session:download_folder(from, to, given) end)
end

--- Writes a file; it replaces the one there in one moment.
--- @async
--- @param path string
--- @param bytes string|Secret
--- @param given? { mode?: string, owner?: string, make_parents?: boolean }
--- @return { bytes: integer, mode: string, ms: number } result
function Host:write(path, bytes, given)
  return self:_repeatable(function(session) return session:write(bytes, path, given) end)
end

--- @async
--- @param path string
--- @return string
function Host:read(path)
  return self:_repeatable(function(session) return session:read(path) end)
end

--- @async
--- @param path string
--- @return table?  nil: nothing is there
function Host:stat(path)
  return self:_repeatable(function(session) return session:stat(path) end)
end

--- @async
--- @param path string
--- @param given? { recursive?: boolean }
--- @return boolean removed
function Host:remove(path, given) return self:_session():remove(path, given) end

local function via(self, url)
  local address, port = url:match("^https?://%[([^%]]+)%]:?(%d*)")
  if not address then address, port = url:match("^https?://([^:/]+):?(%d*)") end
  if not address then fail.usage(("`%s` is no http address"):format(url)) end
  port = tonumber(port) or (url:match("^https") and 443 or 80)
  -- The same dial for the same place: connections are kept per dial.
  local session, place = self:_session(), address .. " " .. port
  local dials = rawget(self, "_dials")
  if not dials or dials.session ~= session then
    dials = { session = session }
    rawset(self, "_dials", dials)
  end
  dials[place] = dials[place] or session:dial_tcp(address, port)
  return dials[place]
end

-- $1 and $2: address and port. What comes in goes there and back; the end of either is the end of both.
local RELAY = [[exec 3<>"/dev/tcp/$1/$2" 4<&0 || exit 1
cat <&4 >&3 &
cat <&3
kill $! 2>/dev/null]]

--- A dial from inside a process's network: of a container of an engine without root, whose networks only its user
--- reaches. Needs bash there.
local function via_process(self, url, pid)
  local address, port = url:match("^http://([^:/]+):(%d+)")
  return self:_session():dial_exec { "nsenter", "--target", tostring(pid), "--user", "--net", "--preserve-credentials",
    "bash", "-c", RELAY, "bash", address, port }
end

function Host:_http_options(url, given)
  local out = {}
  for key, value in pairs(given or {}) do out[key] = value end
  out.via, out.host = given and given.inside and via_process(self, url, given.inside) or via(self, url), self.name
  out.inside = nil
  return out
end

--- Looks at a URL once, from that server's network.
--- @async
--- @param url string
--- @param expect? HttpExpect|integer|string
--- @param given? table  as `http.probe`
--- @return HttpReply|{ ok: boolean, reason?: string }
function Host:probe(url, expect, given)
  return self:_repeatable(function() return http.probe(url, expect, self:_http_options(url, given)) end)
end

--- Asks a URL until it is healthy, from that server's network. Raises `http.unhealthy` with the history.
--- @async
--- @param url string
--- @param given? table  as `http.wait_healthy`, and `inside`: a process's ID, to ask from its network
--- @return HttpReply|{ attempts: integer, waited_ms: number, history: string }
function Host:wait_healthy(url, given) return http.wait_healthy(url, self:_http_options(url, given)) end

--- A shell there, or a program, in this terminal: for people, in a command of a recipe. Returns its exit code. Raises
--- `terminal.missing` where nobody types.
--- @async
--- @param command? string[]|string  default: the account's own shell
--- @return integer code
function Host:shell(command) return self:_session():shell(command).code or 0 end

--- Listens on this machine for what that server reaches: `forward_local("127.0.0.1:5433", "db.internal:5432")`. An end
--- is "host:port", a port or the path of a Unix socket; port 0 chooses a free one, `address` tells it.
--- @async
--- @param listen string|integer
--- @param to string|integer
--- @return SshForward
function Host:forward_local(listen, to) return self:_session():forward_local(listen, to) end

--- Listens on a port of that server for what this machine reaches: `forward_remote(0, "127.0.0.1:5000")`.
--- @async
--- @param listen string|integer
--- @param to string|integer
--- @return SshForward
function Host:forward_remote(listen, to) return self:_session():forward_remote(listen, to) end

--- Ends the connection; a later use opens a new one.
function Host:close()
  self:_close_agents()
  local session = rawget(self, "_ssh")
  rawset(self, "_ssh", nil)
  rawset(self, "_engine", nil)
  rawset(self, "_dials", nil)
  if session then disconnect(self, session) end
end

host_agents.extend(Host)

--- This machine.
--- @type Host
M.localhost = localhost.new(Host, function() return transport end)

--- Ends all connections. For the end of a run.
function M.close_all()
  for _, host in pairs(known) do host:close() end
  M.localhost:close()
end

return M
