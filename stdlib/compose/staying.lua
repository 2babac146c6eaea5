--- What does not move with a release: databases, caches and the like, in the app's own Compose project, with the
--- networks and volumes that all releases share. What has not changed is not touched; what has is recreated by Compose,
--- the old one first.

local door = require "native.door"
local fail = require "native.fail"
local json = require "native.json"
local render = require "compose.render"
local report = require "native.report"
local side_by_side = require "deploy.side_by_side"
local stopping = require "deploy.stopping"
local task = require "native.task"
local text = require "native.text"
local tool_module = require "compose.tool"
local try = require "deploy.try"

local M = {}
local Staying = {}

local WITHIN = 120000  -- ms until what stays is healthy again
local PATIENCE = 90    -- seconds for a Compose that nobody waits for: a database may take its time to end
local LOG_LINES = 20

--- @class StayingLook
--- @field containers { id: string, name: string, service: string, state: string, ended_well: boolean }[]

--- What stands there of the app's own project, also what somebody made by hand before deployrun came.
--- @async
--- @param host Host
--- @param settings ComposeConfig
--- @return StayingLook
function M.look(host, settings)
  local out, stays = { containers = json.array {} }, {}
  for _, name in ipairs(settings.stays) do stays[name] = true end
  for _, entry in ipairs(host.docker:list { all = true,
    labels = { "com.docker.compose.project=" .. settings.service } }) do
    local service = entry.labels["com.docker.compose.service"]
    if stays[service] and entry.labels["com.docker.compose.oneoff"] ~= "True" then
      out.containers[#out.containers + 1] = { id = entry.id, name = entry.name, state = entry.state, service = service,
        ended_well = entry.status:match("^Exited %(0%)") ~= nil }
    end
  end
  return out
end

--- Makes the networks and volumes that are missing.
local function provide_shared(host, settings)
  for _, one in ipairs(render.shared(settings, "networks")) do
    if not one.external and not try(host.docker.inspect_network, host.docker, one.name) then
      host.docker:create_network(one.name, { driver = one.driver, internal = one.internal, labels = one.labels })
    end
  end
  for _, one in ipairs(render.shared(settings, "volumes")) do
    if not one.external and not try(host.docker.inspect_volume, host.docker, one.name) then
      host.docker:create_volume(one.name, { driver = one.driver, labels = one.labels })
    end
  end
end

--- What an `up` that was cut off left beside its container: Compose gives one of the two the name `<ID>_name` while it
--- recreates. The one that runs stays, under its own name; the other never served. Looked at anew: an interrupted
--- repair is done again.
local function repair(host, settings)
  local by_service = {}
  for _, one in ipairs(M.look(host, settings).containers) do
    local proper = one.name:match("^%x%x%x%x%x%x%x%x%x%x%x%x_(.+)$")
    local group = by_service[one.service] or { all = {} }
    by_service[one.service], group.all[#group.all + 1] = group, one
    group.proper = proper or group.proper
  end
  local repaired = {}
  for _, group in pairs(by_service) do
    local kept
    for _, one in ipairs(group.all) do
      if one.state == "running" and not kept then kept = one end
    end
    kept = kept or group.all[1]
    if group.proper then
      for _, one in ipairs(group.all) do
        if one ~= kept then
          host.docker:remove(one.id, { force = true })
          repaired[#repaired + 1] = one.name
        end
      end
      if kept.name ~= group.proper then
        host.docker:rename(kept.id, group.proper)
        repaired[#repaired + 1] = kept.name
      end
    end
  end
  table.sort(repaired)
  return repaired
end

function Staying:_staying_project(before, name, version)
  return tool_module.project(before.compose, { name = self.config.service, file_of = name, env = self:_env(version) })
end

--- Whether all runs; what runs once has to have ended well.
local function up_already(before, settings)
  local up = {}
  for _, one in ipairs(before.staying.containers) do
    up[one.service] = one.state == "running" or settings.stays_once[one.service] and one.ended_well
  end
  for _, name in ipairs(settings.stays) do
    if not up[name] then return false end
  end
  return true
end

--- Removes the files of what stayed in earlier releases; those of the one before are needed to take this one back.
local function forget_older(host, before, service, name)
  local prefix = service .. ".stays-"
  for _, folder in ipairs(before.compose.folders) do
    if folder:sub(1, #prefix) == prefix and folder ~= name and folder ~= before.compose.stays[service] then
      host:remove(tool_module.folder(before.compose, folder), { recursive = true })
    end
  end
end

--- Removes the files that this run brought.
local function forget_new(host, before, service)
  local prefix, known = service .. ".stays-", {}
  for _, folder in ipairs(before.compose.folders) do known[folder] = true end
  for _, folder in ipairs(tool_module.look(host).folders) do
    if folder:sub(1, #prefix) == prefix and not known[folder] then
      host:remove(tool_module.folder(before.compose, folder), { recursive = true })
    end
  end
end

local function note_of(service) return ("%s/%s.stays"):format(tool_module.FOLDER, service) end

local function unready(host, name, why)
  local ok, logs = pcall(host.docker.logs, host.docker, name, { tail = LOG_LINES })
  fail.raise("app.unready", ("%s: %s"):format(name, why), { host = host.name, container = name,
    logs = ok and text.clean(logs.text) or nil, hint = "the log's last lines say why" })
end

--- Waits until what has a health check passes it. Raises `app.unready`.
local function await_healthy(host, settings)
  door.wait(host.name, "until what stays is healthy", nil, function()
    local deadline = task.now() + WITHIN
    for _, one in ipairs(M.look(host, settings).containers) do
      report.waiting(host, one.name .. " to be healthy", deadline - task.now())
      while true do
        local health = host.docker:inspect(one.id).health
        if health == "unhealthy" then unready(host, one.name, "its image's own health check fails") end
        if health ~= "starting" then break end
        if task.now() > deadline then
          unready(host, one.name, "not healthy within " .. text.format_duration(WITHIN))
        end
        task.sleep(200)
      end
    end
  end)
end

--- Notes whether Compose came to its end, so that an undo knows what may still go on.
function Staying:_up_staying(host, before, name, version)
  self._cut_off[host.name] = true
  local ok, err = pcall(function() self:_staying_project(before, name, version):up(host, self.config.stays) end)
  self._cut_off[host.name] = not ok and fail.normal(err).kind ~= "compose.command"
  if not ok then error(err, 0) end
end

--- How long a service may take to end, as its file says.
local function grace_of(settings, name)
  local said = (settings.compose.services[name] or {}).stop_grace_period
  return type(said) == "string" and pcall(text.parse_duration, said) and said or "10s"
end

--- An `up` that nobody waits for comes to its end, and so does a stop that it asked for. What it left is repaired.
function Staying:_let_end(host, before)
  if door.is_kept() or (self._cut_off or {})[host.name] == false then return end
  tool_module.let_end(host, before.compose, self.config.service .. ".stays-", PATIENCE)
  repair(host, self.config)
  side_by_side(before.staying.containers, "end", function(one)
    local now = try(host.docker.inspect, host.docker, one.id)
    if now and now.running then stopping.let_end(host, one.id, grace_of(self.config, one.service)) end
    return true
  end)
end

--- Sees to what stays. Changes nothing where it is as this version's file has it.
--- @async
--- @param host Host
--- @param version string
--- @param before ComposeLook
--- @param pinned table
--- @return { unchanged: boolean, note: string? }
function Staying:keep(host, version, before, pinned)
  local settings = self.config
  self._cut_off = self._cut_off or {}
  self._cut_off[host.name] = false
  provide_shared(host, settings)
  if #settings.stays == 0 then return { unchanged = true } end
  local file = json.encode(render.staying(settings, pinned.pins), { pretty = true }) .. "\n"
  local name = ("%s.stays-%s"):format(settings.service, text.sha256(file):sub(1, 8))
  if before.compose.stays[settings.service] == name and up_already(before, settings) then
    return { unchanged = true }
  end
  tool_module.let_end(host, before.compose, settings.service .. ".stays-", PATIENCE)  -- of a run that is gone on with
  local repaired = repair(host, settings)
  local folder = tool_module.folder(before.compose, name)
  self:_write_beside(host, folder)
  host:write(folder .. "/compose.json", file, { mode = "0600", make_parents = true })
  self:_up_staying(host, before, name, version)
  host:write(("%s/%s"):format(before.compose.home, note_of(settings.service)), name .. "\n", { mode = "0600" })
  await_healthy(host, settings)
  forget_older(host, before, settings.service, name)
  return { unchanged = false, note = #repaired > 0 and "repaired: " .. table.concat(repaired, ", ") or name }
end

--- Takes that back: what stays is as the file before had it. What was not there before is removed, its volumes never.
--- @async
--- @param host Host
--- @param version string
--- @param before ComposeLook
--- @param kept table?  what `keep` returned; nil: it was cut off
function Staying:unkeep(host, version, before, kept)
  local settings, had = self.config, {}
  if #settings.stays == 0 or kept and kept.unchanged then return end
  if not kept then self:_let_end(host, before) end
  for _, one in ipairs(before.staying.containers) do had[one.service] = true end
  side_by_side(M.look(host, settings).containers, "remove", function(one)
    if not had[one.service] then try(host.docker.remove, host.docker, one.id, { force = true }) end
    return true
  end)
  local was = before.compose.stays[settings.service]
  local path = ("%s/%s"):format(before.compose.home, note_of(settings.service))
  if was then
    self:_staying_project(before, was, version):up(host, {})  -- all that its file has: this one may name others
    host:write(path, was .. "\n", { mode = "0600" })
  else
    host:remove(path)
  end
  forget_new(host, before, settings.service)
end

--- @param app table
function M.extend(app)
  for name, fn in pairs(Staying) do app[name] = fn end
end

return M
