--- A server as the looks see it: what several of them need is asked once.

local fail = require "native.fail"
local pick = require "deploy.app.pick"
local task = require "native.task"
local text = require "native.text"
local try = require "deploy.try"

local M = {}

--- @class Patient
--- @field host Host
--- @field app App
--- @field doctor Doctor
--- @field state "none"|"session"|"engine"  what can be asked
local Patient = {}
Patient.__index = Patient

local LOG_LINES = 8
local CONNECT_WITHIN = 20000  -- ms

--- @param host Host
--- @param doctor Doctor
--- @return Patient
function M.new(host, doctor)
  return setmetatable({ host = host, app = doctor.app, doctor = doctor, options = doctor.options, state = "none",
    _asked = {} }, Patient)
end

--- Asks once for all looks; those that come meanwhile wait for the answer.
--- @async
--- @generic T
--- @param key string
--- @param fn fun(): T
--- @return T
function Patient:once(key, fn)
  local asked = self._asked[key]
  if not asked then
    asked = task.spawn(fn, { name = key .. " of " .. self.host.name, observed = true })
    self._asked[key] = asked
  end
  if type(asked) == "table" and asked.known then return asked.value end
  local value = task.join(asked)
  self._asked[key] = { known = true, value = value }
  return value
end

--- Whether commands can be run there; says why not.
--- @param say fun(id: string, facts: table)
--- @return boolean
function Patient:connect(say)
  local ok, err = pcall(task.within, CONNECT_WITHIN, "the connection to " .. self.host.name, function()
    self.host:exec({ "true" }, { reads = true })
  end)
  if ok then return true end
  if task.cancellation() then error(err, 0) end
  require("doctor.reach").say(self.host, fail.normal(err), say)
  return false
end

--- Whether its engine answers.
--- @return boolean
function Patient:has_engine()
  return self:once("engine", function() return (pcall(function() return self.host.docker:ping() end)) end)
end

--- What its engine tells of itself.
--- @return table
function Patient:info()
  return self:once("info", function() return self.host.docker:info() end)
end

--- A command of the server for a fix, as one types it here: `ssh deploy@10.0.0.5 'docker image prune -f'`.
--- @param command string
--- @return string
function Patient:typed(command)
  return M.typed(self.host, command)
end

--- @param host Host
--- @param command string
--- @return string
function M.typed(host, command)
  local spec = host._spec
  if not spec then return command end
  local argv = { "ssh" }
  local function add(flag, value)
    if value and value ~= "none" then argv[#argv + 1], argv[#argv + 2] = flag, value end
  end
  add("-p", spec.port and spec.port ~= 22 and tostring(spec.port))
  add("-i", spec.keys and spec.keys[1])
  add("-J", type(spec.jump) == "table" and table.concat(spec.jump, ",") or spec.jump)
  add("-o", spec.proxy_command and spec.proxy_command ~= "none" and "ProxyCommand=" .. spec.proxy_command)
  argv[#argv + 1] = (spec.user and spec.user .. "@" or "") .. spec.address
  argv[#argv + 1] = command
  return text.shell_join(argv)
end

--- What a command prints there; "" where it fails.
--- @param command string|string[]
--- @return string
function Patient:output(command)
  local result = self.host:exec(command, { reads = true, check = false })
  return result.code == 0 and result.stdout or ""
end

--- @return Look
function Patient:look()
  return self:once("look", function() return self.app:look(self.host) end)
end

--- A container, inspected; nil where there is none.
--- @param name string
--- @return DockerContainer?
function Patient:inspect(name)
  return try(self.host.docker.inspect, self.host.docker, name)
end

--- What serves each role there: `{ role, facts?, container? }`.
--- @return { role: RoleConfig, facts?: Facts, container?: DockerContainer }[]
function Patient:serving()
  return self:once("serving", function()
    local out, look = {}, self:look()
    for _, role in ipairs(self.app:roles(self.host)) do
      local facts = pick.current(look, role)
      -- A worker that is down: the newest one that there is.
      if not facts and not role.proxied then facts = pick.releases(look, role.name)[1] end
      out[#out + 1] = { role = role, facts = facts, container = facts and self:inspect(facts.id) }
    end
    return out
  end)
end

--- The last lines that a container wrote, and what the engine says of it.
--- @param container DockerContainer
--- @return string[]
function Patient:last_words(container)
  local out = {}
  if container.error ~= "" then out[#out + 1] = "the engine says: " .. container.error end
  local ok, logs = pcall(self.host.docker.logs, self.host.docker, container.id, { tail = LOG_LINES })
  for line in (ok and logs.text or ""):gmatch("[^\n]+") do out[#out + 1] = "| " .. line end
  return out
end

--- Where a container's processes listen: `{ port, address }`; nil where that cannot be read.
--- @param container DockerContainer
--- @return { port: integer, loopback: boolean }[]?
function Patient:listening(container)
  if not container.running or container.pid == 0 then return nil end
  local result = self.host:exec({ "cat", ("/proc/%d/net/tcp"):format(container.pid),
    ("/proc/%d/net/tcp6"):format(container.pid) }, { reads = true, check = false })
  if result.stdout == "" then return nil end
  return M.listening(result.stdout)
end

--- The same in words: "it listens on *:80"; nil where that cannot be read.
--- @param container DockerContainer
--- @return string?
function Patient:listens(container)
  local open, words = self:listening(container), {}
  for _, place in ipairs(open or {}) do
    words[#words + 1] = ("%s:%d"):format(place.loopback and "127.0.0.1" or "*", place.port)
  end
  return open and "it listens on " .. (#words > 0 and table.concat(words, ", ") or "nothing")
end

--- Reads /proc/net/tcp and tcp6: state 0A listens (Linux, Documentation/networking/proc_net_tcp.rst).
--- @param table_text string
--- @return { port: integer, loopback: boolean }[]
function M.listening(table_text)
  local out, seen = {}, {}
  for address, port in table_text:gmatch("%d+: (%x+):(%x+) %x+:%x+ 0A") do
    local number = tonumber(port, 16)
    local loopback = address == "0100007F" or address == "00000000000000000000000001000000"
    if address ~= "0B00007F" and not seen[number .. tostring(loopback)] then  -- Docker's own resolver
      seen[number .. tostring(loopback)] = true
      out[#out + 1] = { port = number, loopback = loopback }
    end
  end
  return out
end

--- Images without a name that no container uses.
--- @return { id: string, bytes: integer }[]
function Patient:nameless()
  return self:once("nameless", function()
    local used, out = {}, {}
    for _, container in ipairs(self.host.docker:list { all = true }) do used[container.image_id] = true end
    for _, image in ipairs(self.host.docker:list_images { nameless = true }) do
      if not used[image.id] then out[#out + 1] = { id = image.id, bytes = image.bytes or 0 } end
    end
    return out
  end)
end

--- Ends what the looks had open.
function Patient:close()
  for _, closing in ipairs(self.closing or {}) do closing() end
end

--- Bytes for people: "1.2 GB".
--- @param bytes number
--- @return string
function M.size(bytes)
  if bytes >= 1e9 then return ("%.1f GB"):format(bytes / 1e9) end
  if bytes >= 1e6 then return ("%.0f MB"):format(bytes / 1e6) end
  return ("%.0f kB"):format(math.ceil(bytes / 1e3))
end

return M
