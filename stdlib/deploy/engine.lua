--- A server's engine over SSH: through its socket there, and where the server forbids such forwarding through a command
--- that talks to it. Which of the two shows with the first call; nothing is asked before.

local docker = require "native.docker"
local fail = require "native.fail"

local M = {}

local COMMAND = { "docker", "system", "dial-stdio" }

local function is_refusal(err)
  while err do
    if err.kind == "ssh.forwarding_refused" then return true end
    err = err.cause
  end
  return false
end

--- The same calls as `docker.client`.
--- @param session SshSession
--- @param socket string  path on the server
--- @param host string    whose errors these are
--- @return Docker
function M.over(session, socket, host)
  -- Two: some questions are asked side by side right after a command that used up its connection.
  local direct = docker.client { dial = session:dial_unix(socket), spares = 2, host = host }
  local client = direct

  local function call(name, ...)
    local used = client
    local ok, value = pcall(used[name], used, ...)
    if ok then return value end
    if used ~= direct or not is_refusal(fail.normal(value)) then error(value, 0) end
    -- A refused channel carried nothing, so the call can be made again.
    if client == direct then client = docker.client { dial = session:dial_exec(COMMAND), host = host } end
    return client[name](client, ...)
  end

  return setmetatable({}, { __index = function(self, name)
    local function method(_, ...) return call(name, ...) end
    rawset(self, name, method)
    return method
  end })
end

return M
