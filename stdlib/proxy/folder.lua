--- What the proxies have in common that are told by files: a folder on the server, `~/.deployrun/<name>`, mounted
--- read-only into the container at /deployrun; and requests under way that are counted by their connections.

local base = require "proxy.base"
local door = require "native.door"
local fail = require "native.fail"
local side_by_side = require "deploy.side_by_side"
local task = require "native.task"
local text = require "native.text"
local try = require "deploy.try"

local M = {}
local Proxy = setmetatable({}, { __index = base.Proxy })
Proxy.__index = Proxy
M.Proxy = Proxy

local SETTLE = 150  -- ms: a request that chose the old target just before a switch is connected to it by then
local DRAIN_LOOK = 200  -- ms

--- @param settings table
--- @param app AppConfig
--- @param made_of { container: string, image: string, volumes: string[] }
--- @return table
function M.init(settings, app, made_of)
  local self = base.init(settings, app, made_of)
  self.folder = ".deployrun/" .. made_of.container
  return self
end

--- What tells a maintenance's page from others, in a few letters.
--- @param page string
--- @return string
function M.digest(page) return text.sha256(page):sub(1, 12) end

--- Routes by the files of services, each of which says in its first line what it is.
--- @param listing string  lines of a file's name and its first line
--- @param pattern string  of such a line: the service, the first line
--- @param header fun(source: string): table?  what a file says of itself
--- @return table<string, table>
function M.parse_routes(listing, pattern, header)
  local routes = {}
  for line in listing:gmatch("[^\r\n]+") do
    local service, first = line:match(pattern)
    local found = first and header(first .. "\n")
    if found then
      found.target = ("%s:%d"):format(found.container, found.port)
      routes[service] = found
    end
  end
  return routes
end

--- Runs lines of shell in the folder; $1 and following are `values`, never part of the lines.
--- @async
--- @param host Host
--- @param lines string
--- @param values string[]
--- @param options? table  of host:exec
--- @return string stdout
function Proxy:_at_folder(host, lines, values, options)
  local there = 'cd "$HOME" && mkdir -p "$0" && cd "$0" || exit 1\n'
  return host:exec({ "sh", "-c", there .. lines, self.folder, unpack(values) }, options).stdout
end

--- What lines of shell print that only look; nothing where there is no folder.
--- @async
function Proxy:_look_at_folder(host, lines, ...)
  local argv = { "sh", "-c", 'cd "$HOME/$0" 2>/dev/null || exit 0\n' .. lines, self.folder, ... }
  return host:exec(argv, { reads = true }).stdout
end

--- The folder's absolute path on the server.
function Proxy:_path(host)
  local said = host:exec({ "sh", "-c", 'cd "$HOME" && pwd' }, { reads = true }).stdout
  return ("%s/%s"):format(said:gsub("%s+$", ""), self.folder)
end

--- What a plan would have written into a file of the folder, for its later reads.
function Proxy:_note(host, name, bytes)
  local notes = door.memory(host.name)
  if notes then notes[self.folder .. "/" .. name] = bytes end
end

--- A file of the folder; empty where it is not there.
function Proxy:_read(host, name)
  local notes = door.memory(host.name)
  return notes and notes[self.folder .. "/" .. name] or self:_look_at_folder(host, 'cat "$1" 2>/dev/null || true', name)
end

--- Writes a file of the folder, in one moment. Whoever the proxy runs as may read it.
function Proxy:_write(host, name, bytes)
  host:write(self:_path(host) .. "/" .. name, bytes, { mode = "0644", make_parents = true })
  self:_note(host, name, bytes)
end

function Proxy:_unprepare(host, was)
  if was.folder then return end
  host:exec { "sh", "-c", 'cd "$HOME" && rm -rf "$0" && { rmdir .deployrun 2>/dev/null || true; }', self.folder }
end

--- Asks what runs again and again until `ask` returns true. A command that fails comes too early, or its container is
--- started again and again; what is still so after `limit` is a failure with `problem`'s words.
--- @async
--- @param host Host
--- @param words string  what is waited for
--- @param limit number  ms
--- @param problem { kind: string, message: string }
--- @param ask fun(): boolean
function Proxy:_await(host, words, limit, problem, ask)
  door.wait(host.name, words, nil, function()
    local deadline = task.now() + limit
    while true do
      local ok, answer = pcall(ask)
      if ok and answer then return end
      local cause = not ok and fail.normal(answer) or nil
      if cause and cause.kind ~= "proxy.command" and cause.kind ~= "docker.conflict" then error(answer, 0) end
      if task.now() > deadline then
        fail.raise(problem.kind, problem.message,
          { host = host.name, cause = cause, hint = "docker logs " .. self.container })
      end
      task.sleep(50)
    end
  end)
end

--- The folder may be there from an earlier time; then it stays when a boot is undone.
function Proxy:_with_folder(host, look)
  if look.state ~= "running" then
    local argv = { "sh", "-c", 'test -e "$HOME/$0"', self.folder }
    look.folder = host:exec(argv, { check = false, reads = true }).code == 0
  end
  return look
end

--- A look for proxies whose routes are read from files: those are there whether it runs or not.
--- @async
--- @param host Host
--- @return ProxyLook
function Proxy:_look_by_files(host)
  local found = side_by_side({
    function() return try(host.docker.inspect, host.docker, self.container) or false end,
    function() return self:routes(host) end,
  }, "look", function(fn) return fn() end)
  if found[1] and found[1].running then return { state = "running", routes = found[2] } end
  return self:_with_folder(host, self:_look_at_rest(host, found[1] and "stopped" or "missing"))
end

--- Changes what a service answers, where it is not so already; its target stays. `_apply` is the proxy's own.
--- @async
--- @param host Host
--- @param service string
--- @param state "running"|"maintenance"
--- @param answer { message?: string, retry_after?: integer, page?: string }
function Proxy:_change(host, service, state, answer)
  local found = self:routes(host)[service]
  if not found then
    fail.raise("proxy.command", ("%s serves no %s"):format(self.settings.kind, service), { host = host.name })
  end
  local page = answer.page and M.digest(answer.page)
  local same = found.state == state and found.message == answer.message and found.page == page
  if same and found.retry_after == answer.retry_after then return end
  found.state, found.message, found.retry_after, found.page = state, answer.message, answer.retry_after, page
  found.target = nil
  self:_apply(host, service, found, answer.page)
end

--- An IPv4 address as /proc/net/tcp writes it, here on a little-endian machine: 172.18.0.2 is 020012AC.
local function in_hex(ip)
  local a, b, c, d = ip:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  return a and ("%02X%02X%02X%02X"):format(d, c, b, a) or ""
end

--- Established connections from an address to a local port in the text of /proc/net/tcp and tcp6.
--- @param tables string
--- @param port integer
--- @param from string  IPv4; "" for any
--- @return integer
function M.count_connections(tables, port, from)
  local wanted, peer, count = ("%04X"):format(port), in_hex(from), 0
  for line in tables:gmatch("[^\n]+") do
    local here, there, state = line:match("^%s*%d+:%s+%x+:(%x%x%x%x)%s+(%x+):%x+%s+(%x%x)")
    if here == wanted and state == "01" and (peer == "" or there:sub(-8) == peer) then count = count + 1 end
  end
  return count
end

--- Open connections of the proxy to the containers.
function Proxy:_connections(host, ids, port, from)
  local total = 0
  for _, id in ipairs(ids) do
    local found = try(host.docker.inspect, host.docker, id)
    if found and found.running and found.pid then
      local net = ("/proc/%d/net/"):format(found.pid)
      local tables = host:exec({ "cat", net .. "tcp", net .. "tcp6" }, { check = false, reads = true })
      total = total + M.count_connections(tables.stdout, port, from)
    end
  end
  return total
end

--- Waits until the proxy has no connection to containers any more, or `limit` has passed. A proxy here keeps none open
--- without a request (Caddy: for a second only), so what is left is requests.
--- @async
--- @param host Host
--- @param service string  for words
--- @param ids string[]
--- @param port integer
--- @param limit string  duration
function Proxy:_await_idle(host, service, ids, port, limit)
  if #ids == 0 then return end
  local deadline = task.now() + text.parse_duration(limit)
  local attached = host.docker:inspect(self.container).networks[self.app.network]
  local from = attached and attached.ip or ""
  local words = ("until no request to %s is under way at what it replaces"):format(service)
  door.wait(host.name, words, nil, function()
    task.sleep(SETTLE)
    while self:_connections(host, ids, port, from) > 0 and task.now() < deadline do task.sleep(DRAIN_LOOK) end
  end)
end

--- Waits until no request is under way at containers that traffic has left.
--- @async
--- @param host Host
--- @param service string
--- @param ids string[]    containers that traffic has left
--- @param route table
function Proxy:drain(host, service, ids, route)
  self:_await_idle(host, service, ids, route.app_port, route.drain_timeout)
end

return M
