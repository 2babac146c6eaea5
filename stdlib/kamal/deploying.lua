--- setup, deploy, redeploy and rollback: Kamal's order, as steps that are journaled and undone on all hosts when one
--- fails.

local accessories = require "kamal.accessories"
local assets = require "kamal.assets"
local audit = require "kamal.audit"
local batches = require "kamal.batches"
local boot = require "kamal.boot"
local bootstrap = require "kamal.bootstrap"
local building = require "kamal.building"
local checking = require "kamal.checking"
local configuration = require "kamal.configuration"
local current = require "kamal.current"
local door = require "native.door"
local fail = require "native.fail"
local hooks = require "kamal.hooks"
local lock = require "kamal.lock"
local log = require "native.log"
local migrating = require "kamal.migrating"
local naming = require "kamal.naming"
local proxy = require "kamal.proxy"
local proxy_files = require "kamal.proxy_files"
local prune = require "kamal.prune"
local registry = require "kamal.registry"
local report = require "native.report"
local side_by_side = require "deploy.side_by_side"
local stopping = require "deploy.stopping"
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

local function look_up_secrets(project)
  local secrets = project.config.secrets
  for _, role in ipairs(project.roles) do
    for _, host in ipairs(role.hosts) do
      for _, item in ipairs(project.config:env(role, host).secret) do
        secrets:value((select(2, configuration.secret_name(item))))
      end
    end
    if role.proxy and role.proxy.custom_certificate then
      for _, key in ipairs { "certificate_pem", "private_key_pem" } do
        secrets:value(role.proxy.node:dig("ssl", key).text)
      end
    end
  end
end

--- All secrets that the roles ask for, before anything is done: a missing one is no surprise in the middle. Not asked
--- again where a run is gone on with or undone: that must not wait for a vendor's program.
local function check_secrets(run, project)
  run:once("secrets", function()
    look_up_secrets(project)
    return true
  end)
end

local function check_label(project, host, image)
  if door.is_kept() then return end  -- what a plan has pulled is not there to be looked at
  local found = host.docker:inspect_image(image)
  if found.labels.service ~= project.config.service then
    fail.raise("kamal.image", ("Image %s is missing the 'service' label"):format(image), { host = host.name,
      hint = ("build it with --label service=%s"):format(project.config.service) })
  end
end

local function pull(run, project, version, check)
  local image = naming.image(project.config, version)
  run:step("pull the image", {
    on = project.app_hosts, parallel = 20, retries = 2, timeout = "10m",
    run = function(host)
      audit.record(project, host, "Pulled image with version " .. version)
      local pulled = registry.pull(project, host, image, { credentials = project:credentials(),
        on_progress = report.progress(host, "pull.progress") })
      if check then check(host, image) end
      return { unchanged = not pulled.changed }
    end,
  })
end

--- Pulls the image onto the app hosts.
--- @async
--- @param run Run
--- @param project KamalProject
--- @param version string
function M.pull(run, project, version)
  pull(run, project, version, function(host, image) check_label(project, host, image) end)
end

--- Takes the lock, with a look at the image that was pulled beside it: far servers are asked once for both.
local function take_lock(run, project, details, image)
  local function acquire() lock.acquire(project, details) end
  run:step("take the deploy lock", {
    on = { project.primary_host },
    run = function()
      if not image then return acquire() end
      local both = { acquire }
      for _, host in ipairs(project.app_hosts) do
        both[#both + 1] = function() check_label(project, host, image) end
      end
      -- Taking it is not cut off where an image is wrong.
      side_by_side(both, "lock and image", function(fn) fn() end, "finish")
    end,
    undo = function() lock.release_own(project, details) end,
  })
end

--- Runs `fn` with the deploy lock held; it is let go whatever happens. `image` has been pulled, and is looked at first.
--- @async
--- @param run Run
--- @param project KamalProject
--- @param version string
--- @param fn fun()
--- @param image? string
function M.locked(run, project, version, fn, image)
  if lock.is_inherited(project) then
    if image then
      run:step("look at the image", { on = project.app_hosts, reads = true, run = function(host)
        check_label(project, host, image)
      end })
    end
    return fn()
  end
  local details = run:once("lock", function() return lock.details(version, lock.AUTOMATIC) end)
  take_lock(run, project, details, image)
  fn()
  run:step("let go of the deploy lock", {
    on = { project.primary_host }, final = true,
    run = function()
      -- What is left of the lock is told, not failed for: all that it was held for is done.
      local ok, err = pcall(lock.release_own, project, details)
      if not ok then log.warn("Error releasing the deploy lock: " .. fail.normal(err).message) end
    end,
  })
end

--- What has to lie on the servers before a container of the version serves.
local function prepare_files(run, project, given)
  local with_assets = assets.hosts(project)
  if #with_assets > 0 then
    run:step("bridge assets between versions", {
      on = with_assets,
      run = function(host) return assets.bridge(project, host, given.version, given.seen[host]) end,
      undo = function(host, result) assets.unbridge(host, result) end,
    })
  end
  if proxy_files.any(project) then
    run:step("upload what the proxy reads", { on = project.app_hosts, run = function(host)
      proxy_files.upload(project, host, given.version)
    end })
  end
end

--- Lets go of other versions' files; they may be needed until nothing can be undone any more.
local function clean_files(run, project, given)
  if #assets.hosts(project) == 0 and not project.config.error_pages_path then return end
  run:step("remove other versions' files", { on = project.app_hosts, final = true, run = function(host)
    assets.clean(project, host, given.version)
    proxy_files.clean(project, host, given.version)
  end })
end

--- Boots the version everywhere, with what belongs to it. `given.leftovers`: to be filled with what a prune right
--- after it wants to know, by host.
local function boot_app(run, project, given)
  local boot_all = given.boot or batches.boot
  prepare_files(run, project, given)
  boot_all(run, project, given)
  local latest = naming.latest_image(project.config)
  run:step("tag the image as the latest", {
    on = project.app_hosts,
    run = function(host)
      local image = naming.image(project.config, given.version)
      audit.record(project, host, ("Tagging %s as the latest image"):format(image))
      local ok, err
      side_by_side({
        function() ok, err = pcall(host.docker.tag_image, host.docker, image, latest) end,
        -- No name that the tag gives or takes is one that is pruned.
        function() if given.leftovers then given.leftovers[host] = prune.look(project, host) end end,
      }, "tag", function(fn) fn() end)
      if ok then return nil end
      if fail.normal(err).kind ~= "docker.not_found" then error(err, 0) end
      return { unchanged = true }
    end,
    undo = function(host)
      local was = given.seen[host].latest
      if was and try(host.docker.inspect_image, host.docker, was) then host.docker:tag_image(was, latest) end
    end,
  })
  if given.checks then given.checks:run(run, { version = given.version }) end
  clean_files(run, project, given)
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
        local own = seen[host].roles[role.name]
        for _, one in ipairs(own.containers) do
          local stale = one.running and own.current and one.id ~= own.current.id
          if stale then stopping.wake(host, one.id, boot.stop_timeout(project, role) or boot.STOP) end
        end
      end
    end,
  })
end

--- Removes old containers and images everywhere. What was done before cannot be undone from here on.
--- @async
--- @param run Run
--- @param project KamalProject
--- @param leftovers? table<Host, KamalLeftovers>  of hosts that were looked at a moment ago
function M.prune(run, project, leftovers)
  run:step("prune old containers and images", {
    on = project.hosts, final = true,
    run = function(host)
      local removed, images = prune.all(project, host, project.config.retain_containers, (leftovers or {})[host])
      return { unchanged = #removed + #images == 0, note = ("%d containers, %d images"):format(#removed, #images) }
    end,
  })
end

--- The deploy stays, whatever its last hook says.
local function post_deploy(run, project, began)
  run:afterwards("post-deploy", function()
    hooks.run(project, "post-deploy", { runtime = math.floor((task.now() - began) / 1000 + 0.5) })
  end)
end

--- @async
--- @param run Run
--- @param project KamalProject
--- @param kind "setup"|"deploy"|"redeploy"
function M.deploy(run, project, kind)
  local began = task.now()
  local version = run:once("version", function() return project.config:version() end)
  project.config.declared_version = version
  check_secrets(run, project)
  local before, after = checking.of(project, "before"), checking.of(project, "after")
  hooks.once(run, project, "pre-connect")
  if kind == "setup" then bootstrap.run(run, project) end
  if before then before:run(run, { version = version }) end
  if not project.options.skip_push then building.push(run, project, version) end
  if kind ~= "redeploy" then
    run:step("check the proxy", { on = project.proxy_hosts, reads = true, run = function(host)
      host:_prepare_commands(2)  -- the audit line of the pull, and the lock
      proxy.check(host)
    end })
  end
  pull(run, project, version)
  M.locked(run, project, version, function()
    hooks.once(run, project, "pre-deploy", { locked = true })
    local seen = look(run, project)
    if kind ~= "redeploy" then
      run:step("see to the proxy", {
        on = project.hosts,
        run = function(host)
          for _, one in ipairs(project.proxy_hosts) do
            if one == host then return proxy.boot(project, host, seen[host]) end
          end
          return proxy.network(host)
        end,
      })
    end
    if kind == "setup" then
      for _, accessory in ipairs(project.config.accessories) do accessories.boot(run, project, accessory) end
    end
    stop_stale(run, project, seen)
    migrating.run(run, project, version)
    local leftovers = kind ~= "redeploy" and not after and {} or nil
    boot_app(run, project, { version = version, seen = seen, checks = after, leftovers = leftovers })
    if kind ~= "redeploy" then M.prune(run, project, leftovers) end
  end, naming.image(project.config, version))
  post_deploy(run, project, began)
end

--- The version whose image the tag `latest` names, as far as another tag of the image tells; nil: none does.
local function tagged_latest(project, host)
  local latest = try(host.docker.inspect_image, host.docker, naming.latest_image(project.config))
  local repository, found = naming.repository(project.config), {}
  for _, tag in ipairs(latest and latest.tags or {}) do
    local version = tag:sub(1, #repository + 1) == repository .. ":" and tag:sub(#repository + 2)
    if version and not version:match("^latest") then found[#found + 1] = version end
  end
  return #found == 1 and found[1] or nil
end

--- Boots the version that is told, else the one that `latest` names, with the lock held.
--- @async
--- @param run Run
--- @param project KamalProject
--- @param how? { look?: fun(run: Run, project: KamalProject): table<Host, KamalLook>,
---   boot?: fun(run: Run, project: KamalProject, given: table) }  in the place of the usual look, of the usual boot
function M.boot_held(run, project, how)
  check_secrets(run, project)
  local seen = (how and how.look or look)(run, project)
  local version = run:once("version", function()
    return project.options.version or tagged_latest(project, project.primary_host) or ""
  end)
  if version == "" then
    fail.raise("kamal.version", "no version is told, and `latest` names none that is known by its own name",
      { host = project.primary_host.name, hint = "say --version; `app images` shows what is there" })
  end
  project.config.declared_version = version
  boot_app(run, project, { version = version, seen = seen, boot = how and how.boot })
end

--- app boot.
--- @async
--- @param run Run
--- @param project KamalProject
function M.boot(run, project)
  M.locked(run, project, project.options.version or "latest", function() M.boot_held(run, project) end)
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
        if not one.running and not one.never_ran and not serves and not one.version:find("_replaced_", 1, true) then
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

M._previous = previous

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
  hooks.once(run, project, "pre-connect")
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
    hooks.once(run, project, "pre-deploy", { locked = true })
    boot_app(run, project, { version = version, seen = seen, retained = not project.options.fresh })
  end)
  post_deploy(run, project, began)
end

return M
