--- setup, deploy, redeploy and rollback: Kamal's order, as steps that are journaled and undone on all hosts when one
--- fails.

local accessories = require "kamal.accessories"
local audit = require "kamal.audit"
local boot = require "kamal.boot"
local current = require "kamal.current"
local fail = require "native.fail"
local hooks = require "kamal.hooks"
local lock = require "kamal.lock"
local log = require "native.log"
local naming = require "kamal.naming"
local proxy = require "kamal.proxy"
local prune = require "kamal.prune"
local report = require "native.report"
local side_by_side = require "deploy.side_by_side"
local task = require "native.task"
local try = require "deploy.try"

local M = {}

--- What every host runs before anything changes.
local function look(run, project)
  return run:step("look at the servers", {
    on = project.app_hosts, reads = true,
    run = function(host) return current.look(project, host) end,
  })
end

--- All secrets that the roles ask for, before anything is done: a missing one is no surprise in the middle.
local function check_secrets(project)
  for _, role in ipairs(project.roles) do
    for _, host in ipairs(role.hosts) do
      for _, item in ipairs(project.config:env(role, host).secret) do
        project.config.secrets:value((select(2, require("kamal.configuration").secret_name(item))))
      end
    end
  end
end

local function check_label(project, host, image)
  local found = host.docker:inspect_image(image)
  if found.labels.service ~= project.config.service then
    fail.raise("kamal.image", ("Image %s is missing the 'service' label"):format(image), { host = host.name,
      hint = ("build it with --label service=%s"):format(project.config.service) })
  end
end

--- Pulls the image onto the app hosts.
--- @async
--- @param run Run
--- @param project KamalProject
--- @param version string
function M.pull(run, project, version)
  local image, credentials = naming.image(project.config, version), project:credentials()
  run:step("pull the image", {
    on = project.app_hosts, parallel = 20, retries = 2, timeout = "10m",
    run = function(host)
      audit.record(project, host, "Pulled image with version " .. version)
      local pulled = host.docker:pull(image, { credentials = credentials,
        on_progress = report.progress(host, "pull.progress") })
      check_label(project, host, image)
      return { unchanged = not pulled.changed }
    end,
  })
end

--- Runs `fn` with the deploy lock held; it is let go whatever happens.
--- @async
--- @param run Run
--- @param project KamalProject
--- @param version string
--- @param fn fun()
function M.locked(run, project, version, fn)
  if lock.is_inherited(project) then return fn() end
  local details = run:once("lock", function() return lock.details(version, lock.AUTOMATIC) end)
  run:step("take the deploy lock", {
    on = { project.primary_host },
    run = function() lock.acquire(project, details) end,
    undo = function() lock.release_own(project, details) end,
  })
  fn()
  -- After the last step there is nothing to undo any more; what is left of the lock is told, not failed for.
  local ok, err = pcall(lock.release_own, project, details)
  if not ok then log.warn("Error releasing the deploy lock: " .. fail.normal(err).message) end
end

local function boot_step(run, project, name, hosts, roles_of, given)
  if #hosts == 0 then return end
  local limit, wait = project.config.boot.limit, project.config.boot.wait
  local options = {
    on = hosts,
    run = function(host)
      local done = {}
      local list = roles_of(host)
      local function one(role)
        local result = boot.boot(project, host, role, { version = given.version, look = given.seen[host],
          retained = given.retained })
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
  }
  if limit then options.rolling = { limit = limit, wait = wait and ("%.0fs"):format(wait) or nil } end
  run:step(name, options)
end

--- Boots the version: the primary role on all its hosts, then, when it is healthy, everything else.
local function boot_app(run, project, given)
  local primary = project.primary_role
  hooks.run(project, "pre-app-boot", { locked = true })
  local first, others = {}, {}
  for _, host in ipairs(project.app_hosts) do
    for _, role in ipairs(project:roles_on(host)) do
      local list = role == primary and first or others
      if list[#list] ~= host then list[#list + 1] = host end
    end
  end
  boot_step(run, project, ("boot %s"):format(primary.name), first, function() return { primary } end, given)
  boot_step(run, project, "boot the other roles", others, function(host)
    local out = {}
    for _, role in ipairs(project:roles_on(host)) do
      if role ~= primary then out[#out + 1] = role end
    end
    return out
  end, given)
  hooks.run(project, "post-app-boot", { locked = true })
  local latest = naming.latest_image(project.config)
  run:step("tag the image as the latest", {
    on = project.app_hosts,
    run = function(host)
      local image = naming.image(project.config, given.version)
      if not try(host.docker.inspect_image, host.docker, image) then return { unchanged = true } end
      audit.record(project, host, ("Tagging %s as the latest image"):format(image))
      host.docker:tag_image(image, latest)
    end,
    undo = function(host)
      local was = given.seen[host].latest
      if was and try(host.docker.inspect_image, host.docker, was) then host.docker:tag_image(was, latest) end
    end,
  })
end

local function stop_stale(run, project, seen)
  run:step("stop stale containers", {
    on = project.app_hosts,
    run = function(host)
      local names = boot.stale(project, host, seen[host], true)
      return { unchanged = #names == 0, note = #names > 0 and table.concat(names, ", ") or nil }
    end,
    undo = function(host)
      for _, role in ipairs(project:roles_on(host)) do
        for _, one in ipairs(seen[host].roles[role.name].containers) do
          if one.running then host.docker:start(one.id) end
        end
      end
    end,
  })
end

local function prune_all(run, project)
  run:step("prune old containers and images", {
    on = project.hosts, final = true,
    run = function(host)
      local removed = prune.containers(project, host, project.config.retain_containers)
      local images = prune.images(project, host)
      return { unchanged = #removed + #images == 0, note = ("%d containers, %d images"):format(#removed, #images) }
    end,
  })
end

local function check_build(project)
  if project.options.skip_push then return end
  fail.usage(("kamal %s: building is not here yet"):format(project.command),
    { hint = "build and push as before (docker buildx, CI, kamal build push), then say --skip-push" })
end

--- @async
--- @param run Run
--- @param project KamalProject
--- @param kind "setup"|"deploy"|"redeploy"
function M.deploy(run, project, kind)
  check_build(project)
  local began = task.now()
  local version = run:once("version", function() return project.config:version() end)
  project.config.declared_version = version
  check_secrets(project)
  hooks.run(project, "pre-connect")
  if kind ~= "redeploy" then
    run:step("check the proxy", { on = project.proxy_hosts, reads = true, run = function(host) proxy.check(host) end })
  end
  M.pull(run, project, version)
  M.locked(run, project, version, function()
    hooks.run(project, "pre-deploy", { locked = true })
    local seen = look(run, project)
    if kind ~= "redeploy" then
      run:step("see to the proxy", {
        on = project.hosts,
        run = function(host)
          for _, one in ipairs(project.proxy_hosts) do
            if one == host then return proxy.boot(project, host) end
          end
          return proxy.network(host)
        end,
      })
    end
    if kind == "setup" then
      for _, accessory in ipairs(project.config.accessories) do accessories.boot(run, project, accessory) end
    end
    stop_stale(run, project, seen)
    boot_app(run, project, { version = version, seen = seen })
    if kind ~= "redeploy" then prune_all(run, project) end
  end)
  hooks.run(project, "post-deploy", { runtime = math.floor((task.now() - began) / 1000 + 0.5) })
end

--- The newest version whose containers are kept on every host for every role, other than what serves.
local function previous(project, seen)
  local candidates = {}
  for index, host in ipairs(project.app_hosts) do
    local own = {}
    for _, role in ipairs(project:roles_on(host)) do
      local state, kept = seen[host].roles[role.name], {}
      for _, one in ipairs(state.containers) do
        local serves = state.current and state.current.version == one.version
        if not one.running and not serves and not one.version:find("_replaced_", 1, true) then
          kept[one.version] = one.created
        end
      end
      own[#own + 1] = kept
    end
    for _, kept in ipairs(own) do
      if index == 1 and kept == own[1] then
        for version, created in pairs(kept) do candidates[version] = created end
      else
        for version in pairs(candidates) do
          if not kept[version] then candidates[version] = nil end
        end
      end
    end
  end
  local best
  for version, created in pairs(candidates) do
    if not best or created > candidates[best] then best = version end
  end
  return best
end

local function check_kept(project, seen, version)
  for _, host in ipairs(project.app_hosts) do
    for _, role in ipairs(project:roles_on(host)) do
      local found = false
      for _, one in ipairs(seen[host].roles[role.name].containers) do found = found or one.version == version end
      if not found then
        fail.raise("kamal.version", ("The app version '%s' is not available as a container (use 'kamal app " ..
          "containers' for available versions)"):format(version), { host = host.name })
      end
    end
  end
end

--- @async
--- @param run Run
--- @param project KamalProject
function M.rollback(run, project)
  local began = task.now()
  hooks.run(project, "pre-connect")
  local wanted = project.arguments[1]
  M.locked(run, project, wanted or "previous", function()
    local seen = look(run, project)
    local version = run:once("version", function() return wanted or previous(project, seen) or "" end)
    if version == "" then
      fail.raise("kamal.version", "there is no version to go back to on every host",
        { hint = "app containers shows what is kept" })
    end
    project.config.declared_version = version
    check_kept(project, seen, version)
    hooks.run(project, "pre-deploy", { locked = true })
    boot_app(run, project, { version = version, seen = seen, retained = not project.options.fresh })
  end)
  hooks.run(project, "post-deploy", { runtime = math.floor((task.now() - began) / 1000 + 0.5) })
end

return M
