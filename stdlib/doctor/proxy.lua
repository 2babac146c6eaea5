--- The proxy and its ports: down, without a route, with a route to what is gone; ports that somebody else has.

local container_module = require "deploy.app.container"

local M = {}

M.FINDINGS = {
  { id = "port.taken", severity = "error", title = "port {port} is taken by {holder}",
    cause = "the proxy cannot listen there while {holder} does", fix = "{mend}" },
  { id = "proxy.down", severity = "error", title = "the proxy {name} does not run", cause = "{why}", fix = "{mend}" },
  { id = "proxy.no_route", severity = "error", title = "the proxy sends nothing to {service}",
    cause = "it has no route of that name: it lost its state, or nothing was ever shipped here",
    fix = "deployrun {recipe} deploy --version {version}" },
  { id = "proxy.target", severity = "error", title = "the proxy sends {service} to {target}, which {state}",
    cause = "the container ended or was removed behind the proxy's back",
    fix = "{mend}" },
  { id = "proxy.held", severity = "warning", title = "the proxy holds the traffic of {service}: {state}",
    cause = "a maintenance was begun and not ended, or a deploy was interrupted",
    fix = "deployrun {recipe} --abort (where a run is unfinished), else {mend}" },
}

--- Who listens on a port, by `ss -Hltnp`: "nginx (pid 312)"; nil where nobody does, "" where that is not told.
--- @param text string
--- @param port integer
--- @return string?
--- @return integer? pid
function M.listener(text, port)
  for line in text:gmatch("[^\n]+") do
    local address = line:match("^%S+%s+%d+%s+%d+%s+(%S+)")
    if address and address:match(":(%d+)$") == tostring(port) then
      local name, pid = line:match('users:%(%("([^"]+)",pid=(%d+)')
      return name and ("%s (pid %s)"):format(name, pid) or "", tonumber(pid)
    end
  end
end

--- Which running container publishes a port.
local function publisher(patient, port)
  for _, entry in ipairs(patient.host.docker:list { states = { "running" } }) do
    local container = patient:inspect(entry.id)
    for _, published in ipairs(container and container.published or {}) do
      if published.port == tostring(port) then return container.name end
    end
  end
end

local SHARED = { "^docker", "^containerd", "^podman", "^ssh", "^user@", "^systemd" }

--- The service to switch off for a port's sake; nil for one that much else hangs on, as the engine's own.
--- @param said string  what `ps -o unit=` prints
--- @return string?
function M.own_unit(said)
  local unit = said:match("(%S+%.service)")
  for _, pattern in ipairs(SHARED) do
    if unit and unit:match(pattern) then return nil end
  end
  return unit
end

--- Says who has a port that the proxy needs; false where nobody does.
--- @param patient Patient
--- @param port integer
--- @param say fun(id: string, facts: table)
--- @return boolean
function M.taken(patient, port, say)
  local listening = patient:once("ss", function() return patient:output("ss -Hltnp 2>/dev/null || ss -Hltn") end)
  local holder, pid = M.listener(listening, port)
  if not holder then return false end
  local name = publisher(patient, port)
  if name == patient.app.proxy.container then return false end
  local unit = pid and M.own_unit(patient:output({ "ps", "-o", "unit=", "-p", tostring(pid) }))
  local mend = patient:typed(name and "docker stop " .. name or unit and "sudo systemctl disable --now " .. unit
    or ("sudo ss -ltnp 'sport = :%d'"):format(port))
  say("port.taken", { port = port, holder = name and "the container " .. name or holder ~= "" and holder
    or "a process that only root may see", mend = mend .. "\nthen: deployrun " .. patient.doctor.recipe .. " deploy",
    evidence = { ("ss: %s"):format((listening:match("[^\n]*:" .. port .. "%s[^\n]*") or "")) } })
  return true
end

local function check_down(patient, state, say)
  local proxy, settings = patient.app.proxy, patient.app.proxy.settings
  local taken = false
  for _, port in ipairs { settings.http_port or 80, settings.https_port or nil } do
    taken = M.taken(patient, port, say) or taken
  end
  if taken then return end
  local container = patient:inspect(proxy.container)
  local evidence = container and patient:last_words(container) or {}
  local why = state == "missing" and "there is no such container: nothing was ever shipped here, or it was removed"
    or ("it has ended with exit code %d"):format(container and container.exit_code or 0)
  say("proxy.down", { name = proxy.container, why = why, evidence = evidence,
    mend = state == "missing" and ("deployrun %s deploy"):format(patient.doctor.recipe)
      or patient:typed("docker start " .. proxy.container) })
end

local function state_of(patient, name)
  local container = patient:inspect(name)
  if not container then return "is gone", nil end
  if not container.running then return "has ended with exit code " .. container.exit_code, container end
  return nil, container
end

--- What ends a hold: kamal-proxy has a command of its own.
local function resume_of(patient, service)
  local proxy = patient.app.proxy
  if proxy.settings.kind == "kamal_proxy" then
    return patient:typed(("docker exec %s kamal-proxy resume %s"):format(proxy.container, service))
  end
  return ("in a command of the recipe: app.proxy:resume(host, %q)"):format(service)
end

local function check_route(patient, role, route, say)
  local service = container_module.route_name(patient.app.config.service, role.name)
  local recipe = patient.doctor.recipe
  if not route then
    local newest = require("deploy.app.pick").releases(patient:look(), role.name)[1]
    return say("proxy.no_route", { service = service, recipe = recipe, version = newest and newest.version or "VERSION",
      evidence = { newest and ("%s is %s"):format(newest.name, newest.state) or "no container of the service" } })
  end
  local gone, container = state_of(patient, route.container)
  if gone then
    say("proxy.target", { service = service, target = route.container, state = gone,
      evidence = container and patient:last_words(container) or {},
      mend = container and patient:typed("docker start " .. container.name)
        .. ("    or: deployrun %s rollback"):format(recipe) or ("deployrun %s deploy"):format(recipe) })
  elseif route.state and route.state ~= "running" then
    say("proxy.held", { service = service, state = route.state, recipe = recipe,
      mend = resume_of(patient, service) })
  end
end

--- @param patient Patient
--- @param say fun(id: string, facts: table)
function M.on_host(patient, say)
  local app = patient.app
  if #app:proxied(patient.host) == 0 then return end
  local container = patient:inspect(app.proxy.container)
  if not container or not container.running then
    return check_down(patient, container and "stopped" or "missing", say)
  end
  local routes = app.proxy:routes(patient.host)
  for _, role in ipairs(app:proxied(patient.host)) do
    check_route(patient, role, routes[container_module.route_name(app.config.service, role.name)], say)
  end
end

return M
