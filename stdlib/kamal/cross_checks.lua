--- What several keys of a configuration say together: what must be there, what excludes what. In Kamal's words; all at
--- once. Runs on a configuration whose keys and types are right.

local M = {}

M.KAMAL_VERSION = "2.12.0"

local function is_older(version, other)
  local a, b = version:gsub("^v", ""), other:gsub("^v", "")
  local left, right = a:gmatch("%d+"), b:gmatch("%d+")
  for _ = 1, 4 do
    local one, two = tonumber(left() or 0), tonumber(right() or 0)
    if one ~= two then return one < two end
  end
  return false
end

--- Whether a version comes before another one: "v0.9.1", "v0.9.2".
M.is_older = is_older

local function is_ip(text)
  local a, b, c, d = text:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  if a then return tonumber(a) < 256 and tonumber(b) < 256 and tonumber(c) < 256 and tonumber(d) < 256 end
  return text:find(":", 1, true) ~= nil and text:match("^[%x:.]+$") ~= nil
end

local function proxy_problems(node, path, add)
  if not node or node.kind ~= "map" then return end
  local function given(key) return node:get(key) and not node:get(key):is_blank() end
  if not given("host") and not given("hosts") and given("ssl") then
    add(path .. ": Must set a host to enable automatic SSL", node:get("ssl"):place())
  end
  if node:get("host") and node:get("hosts") then
    add(path .. ": Specify one of 'host' or 'hosts', not both", node:key_place("hosts"))
  end
  local ssl = node:get("ssl")
  if ssl and ssl.kind == "map" then
    local certificate, key = ssl:get("certificate_pem"), ssl:get("private_key_pem")
    if certificate and not key then
      add(path .. ": Missing private_key_pem setting (required when certificate_pem is present)", ssl:place())
    elseif key and not certificate then
      add(path .. ": Missing certificate_pem setting (required when private_key_pem is present)", ssl:place())
    end
  end
  local run = node:get("run")
  if not run or run.kind ~= "map" then return end
  for _, ip in ipairs((run:get("bind_ips") or { texts = function() return {} end }):texts()) do
    if not is_ip(ip) then add(path .. ": Invalid publish IP address: " .. ip, run:get("bind_ips"):place()) end
  end
  local publish = run:get("publish")
  if publish and publish.value == false and (run:get("bind_ips") or run:get("http_port") or run:get("https_port")) then
    add(path .. ": Cannot set http_port, https_port or bind_ips when publish is false", publish:place())
  end
end

local function builder_problems(config, add)
  local builder = config.root:get("builder")
  local arch = builder and builder:get("arch")
  if not arch or arch:is_blank() then
    add("builder: Builder arch not set", (builder or config.root):place())
  end
  if not builder then return end
  local cache = builder:dig("cache", "type")
  if cache and cache.text ~= "gha" and cache.text ~= "registry" then
    add("builder: Invalid cache type: " .. cache.text, cache:place())
  end
  if builder:get("pack") and arch and arch.kind == "list" and #arch.items > 1 then
    add("builder: buildpacks only support building for one arch", builder:get("pack"):place())
  end
  local own, remote = builder:get("local"), builder:get("remote")
  if own and own.value == false and (not remote or remote:is_blank()) then
    add("builder: Cannot disable local builds, no remote is set", own:place())
  end
  if config.registry.is_local and remote and not remote:is_blank() and not remote.text:match("^ssh://") then
    add("Local registry with remote builder requires an SSH URL (e.g., ssh://user@host)", remote:place())
  end
end

local function required(config, add)
  local root = config.root
  local function missing(key) return not root:get(key) or root:get(key):is_blank() end
  if missing("service") then add("Missing required configuration for service", root:place()) end
  if missing("registry") then add("Missing required configuration for registry", root:place()) end
  if not config.image then add("Missing required configuration for image", root:place()) end
  if not missing("service") and not config.service:match("^[%w_-]+$") then
    add("Service name can only include alphanumeric characters, hyphens, and underscores", root:get("service"):place())
  end
  if not missing("registry") and not config.registry.is_local then
    for _, key in ipairs { "username", "password" } do
      local value = root:get("registry"):get(key)
      if not value or value:is_blank() then
        add(("registry/%s: is required"):format(key), (value or root:get("registry")):place())
      end
    end
  end
end

local function server_problems(config, add)
  local root = config.root
  local servers = root:get("servers")
  if not servers or servers:is_null() then
    if #config.accessories == 0 then add("No servers or accessories specified", root:place()) end
    return
  end
  local primary = config:role(config.primary_role_name)
  if not primary then
    add(("The primary_role %s isn't defined"):format(config.primary_role_name),
      (root:get("primary_role") or servers):place())
  end
  for _, role in ipairs(config.roles) do
    if #role.hosts == 0 then
      if role == primary then
        add(("No servers specified for the %s primary_role"):format(role.name), role.place)
      elseif not config.allow_empty_roles then
        add(("No servers specified for the %s role. You can ignore this with allow_empty_roles: true"):format(
          role.name), role.place)
      end
    end
  end
end

local function ssl_problems(config, add)
  local seen, shared = {}, {}
  for _, role in ipairs(config.roles) do
    local proxy = role.proxy
    if proxy and proxy.ssl then
      if #role.hosts > 1 and not proxy.custom_certificate then
        add(("SSL is only supported on a single server unless you provide custom certificates, found %d servers for " ..
          "role %s"):format(#role.hosts, role.name), role.place)
      end
      for _, host in ipairs(proxy.hosts) do
        if seen[host] then shared[#shared + 1] = host end
        seen[host] = true
      end
    end
  end
  if #shared > 0 then
    add("Different roles can't share the same host for SSL: " .. table.concat(shared, ", "), config.root:place())
  end
end

local function hook_problems(config, add, exists)
  local old = {}
  for _, name in ipairs { "pre-traefik-reboot", "post-traefik-reboot" } do
    if exists(config.hooks_path .. "/" .. name) then old[#old + 1] = name end
  end
  if #old > 0 then
    add(("Found %s, these should be renamed to (pre|post)-proxy-reboot"):format(table.concat(old, ", ")),
      config.root:place())
  end
  local output = config.root:get("hooks_output")
  if not output then return end
  local function level(node, context)
    if node.text == "quiet" or node.text == "verbose" then return end
    add(("Invalid hooks_output '%s'%s, must be one of: quiet, verbose"):format(node.text, context), node:place())
  end
  if output.kind == "map" then
    for _, hook in ipairs(output.keys) do level(output:get(hook), (" for hook '%s'"):format(hook)) end
  else
    level(output, "")
  end
end

local function accessory_problems(config, add)
  for _, accessory in ipairs(config.accessories) do
    local unknown = {}
    for _, name in ipairs(accessory.role_names) do
      if not config:role(name) then unknown[#unknown + 1] = name end
    end
    if #unknown > 0 then
      add(("accessories/%s: unknown role%s %s"):format(accessory.name, #unknown > 1 and "s" or "",
        table.concat(unknown, ", ")), accessory.place)
    end
    proxy_problems(accessory.node:get("proxy"), ("accessories/%s/proxy"):format(accessory.name), add)
  end
end

--- @param config KamalConfig
--- @param exists fun(path: string): boolean
--- @return ConfigProblem[]
function M.check(config, exists)
  local problems = {}
  local function add(message, place, hint)
    problems[#problems + 1] = { message = message, place = place, hint = hint }
  end
  if config.require_destination and not config.destination then
    add("You must specify a destination", config.root:get("require_destination"):place(), "-d DESTINATION")
  end
  required(config, add)
  if config.minimum_version and is_older(M.KAMAL_VERSION, config.minimum_version) then
    add(("Current version is %s, minimum required is %s"):format(M.KAMAL_VERSION, config.minimum_version),
      config.root:get("minimum_version"):place())
  end
  if config.retain_containers < 1 then
    add("Must retain at least 1 container", config.root:get("retain_containers"):place())
  end
  server_problems(config, add)
  builder_problems(config, add)
  proxy_problems(config.root:get("proxy"), "proxy", add)
  for _, role in ipairs(config.roles) do
    proxy_problems(role.node and role.node:get("proxy"), ("servers/%s/proxy"):format(role.name), add)
  end
  accessory_problems(config, add)
  ssl_problems(config, add)
  hook_problems(config, add, exists)
  for _, host in ipairs(config.hosts) do
    local first
    for _, run in ipairs(config:proxy_runs(host)) do
      if first and first ~= run.digest then
        add("Conflicting proxy run configurations for host " .. host, config.root:place())
        break
      end
      first = run.digest
    end
  end
  return problems
end

return M
