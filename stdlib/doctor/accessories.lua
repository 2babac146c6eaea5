--- What stands beside the app (search, cache, database servers): missing, ended, out of the app's reach.

local containers = require "doctor.containers"
local reach_module = require "deploy.app.reach"

local M = {}
local address, ask = reach_module.address, reach_module.ask

M.FINDINGS = {
  { id = "accessory.missing", severity = "error", title = "the accessory {name} is not there",
    cause = "there is no container {container} on {host}", fix = "boot it: deployrun recipes/accessories.lua boot "
      .. "{name}, kamal accessory boot {name}, docker compose up -d {name}, or the recipe that starts it" },
  { id = "accessory.down", severity = "error", title = "the accessory {name} does not run",
    cause = "it has ended with exit code {code}", fix = "{start}" },
  { id = "accessory.apart", severity = "error", title = "the app cannot reach the accessory {name}",
    cause = "{container} is in {networks}, the app's containers are in {network}",
    fix = "{connect}" },
  { id = "accessory.unreachable", severity = "error", title = "the accessory {name} does not answer on port {port}",
    cause = "{why}", fix = "{logs}" },
}

local function reach(patient, declared, container, ip, facts, say)
  if not declared.port then return end
  facts.port = declared.port
  local function tell(why, err)
    while err and err.cause do err = err.cause end
    facts.why = err and err.message ~= why and ("%s: %s"):format(why, err.message) or why
    local listens = patient:listens(container)
    if listens then table.insert(facts.evidence, 1, listens) end
    say("accessory.unreachable", facts)
  end
  local health = declared.path and { path = declared.path, expect = declared.expect, host = declared.health_host }
  local ok, why, err = ask(patient.host, container, ip, declared.port, health)
  if not ok then tell(why, err) end
end

--- The address that the app's containers of this server reach: in a network that they share, or in the app's own.
local function address_for(patient, container)
  local wanted = { [patient.app.config.network] = true }
  for _, one in ipairs(patient:serving()) do
    for name in pairs(one.container and one.container.networks or {}) do wanted[name] = true end
  end
  return address(container, wanted)
end

local function look_at(patient, declared, say)
  local name = declared.container or declared.name
  local facts = { name = declared.name, container = name, host = patient.host.name }
  local container = patient:inspect(name)
  if not container then return say("accessory.missing", facts) end
  local more = containers._facts_of(patient, container)
  for key, value in pairs(more) do facts[key] = facts[key] or value end
  if containers.state(patient, container, say) then return end
  if not container.running then return say("accessory.down", facts) end
  local network, networks = patient.app.config.network, {}
  for one in pairs(container.networks) do networks[#networks + 1] = one end
  table.sort(networks)
  local ip = address_for(patient, container)
  if not ip then
    facts.network, facts.networks = network, #networks > 0 and table.concat(networks, ", ") or "no network"
    facts.connect = patient:typed(("docker network connect %s %s"):format(network, name))
    return say("accessory.apart", facts)
  end
  reach(patient, declared, container, ip, facts, say)
end

--- What stands beside the app here: what its settings say, and what the doctor was told of.
local function declared_on(patient)
  local out, told = {}, {}
  for _, one in ipairs(patient.options.accessories or {}) do
    told[one.container or one.name] = true
    if (one.on or patient.app.hosts[1]).name == patient.host.name then out[#out + 1] = one end
  end
  for _, one in ipairs(patient.app.accessories and patient.app:accessories(patient.host) or {}) do
    local health = one.health or {}
    if not told[one.container] then
      out[#out + 1] = { name = one.name, container = one.container, port = health.port or one.port,
        path = health.path, expect = health.expect, health_host = health.host }
    end
  end
  return out
end

--- @param patient Patient
--- @param say fun(id: string, facts: table)
function M.on_host(patient, say)
  for _, declared in ipairs(declared_on(patient)) do look_at(patient, declared, say) end
end

return M
