--- Booting a version on all servers: `boot.limit` of them at a time, with Kamal's hooks for each batch.

local boot = require "kamal.boot"
local door = require "native.door"
local hooks = require "kamal.hooks"
local side_by_side = require "deploy.side_by_side"

local M = {}

local function boot_step(run, project, name, hosts, roles_of, given)
  if #hosts == 0 then return end
  run:step(name, {
    on = hosts,
    run = function(host)
      local done = {}
      local list = roles_of(host)
      local record = run.steps[#run.steps].tasks[host.name]
      local again = record ~= nil and (record.attempt or 0) > 1
      local function one(role)
        local result = boot.boot(project, host, role, { version = given.version, look = given.seen[host],
          retained = given.retained, again = again })
        done[role.name] = result.name
        return result
      end
      if project.config.boot.parallel_roles then
        side_by_side(list, "boot", one)
      else
        for _, role in ipairs(list) do one(role) end
      end
      return done
    end,
    undo = function(host)
      for _, role in ipairs(roles_of(host)) do
        boot.unboot(project, host, role, { version = given.version, look = given.seen[host],
          retained = given.retained })
      end
    end,
  })
end

--- Boots the version on a batch of hosts: the primary role on all of them, then, when it is healthy, everything else.
local function boot_batch(run, project, given, batch)
  local primary, first, others = project.primary_role, {}, {}
  for _, host in ipairs(batch.hosts) do
    for _, role in ipairs(project:roles_on(host)) do
      local list = role == primary and first or others
      if list[#list] ~= host then list[#list + 1] = host end
    end
  end
  local hook = { locked = true, hosts = batch.hosts, part = batch.part }
  local suffix = batch.part and ", " .. batch.part or ""
  hooks.once(run, project, "pre-app-boot", hook)
  boot_step(run, project, ("boot %s%s"):format(primary.name, suffix), first, function() return { primary } end, given)
  boot_step(run, project, "boot the other roles" .. suffix, others, function(host)
    local out = {}
    for _, role in ipairs(project:roles_on(host)) do
      if role ~= primary then out[#out + 1] = role end
    end
    return out
  end, given)
  hooks.once(run, project, "post-app-boot", hook)
end

--- `boot.limit` hosts at a time, those of the primary role first.
local function batches_of(project)
  local hosts, limit = project.app_hosts, project.config.boot.limit
  if not limit or limit >= #hosts then return { { hosts = hosts } } end
  local out, count = {}, math.ceil(#hosts / limit)
  for number = 1, count do
    local some = { unpack(hosts, (number - 1) * limit + 1, math.min(number * limit, #hosts)) }
    out[number] = { hosts = some, part = ("%d of %d"):format(number, count) }
  end
  return out
end

--- Boots the version everywhere, a batch after the other.
--- @async
--- @param run Run
--- @param project KamalProject
--- @param given { version: string, seen: table<Host, KamalLook>, retained?: boolean }
function M.boot(run, project, given)
  local wait = project.config.boot.wait
  for number, batch in ipairs(batches_of(project)) do
    if number > 1 and wait then
      -- Recorded, so that a run that is resumed after it does not wait again.
      run:once("waited before " .. batch.part, function()
        door.sleep(wait * 1000, ("%d s before the next servers"):format(wait))
        return true
      end)
    end
    boot_batch(run, project, given, batch)
  end
end

return M
