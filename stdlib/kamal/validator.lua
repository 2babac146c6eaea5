--- Checks a configuration's keys and types, all of them at once, in Kamal's words and with the place of each. What
--- several keys say together is kamal/cross_checks.lua's.

local text = require "native.text"

local M = {}

--- @class ConfigProblem
--- @field message string  "servers/web/cmd: should be a string"
--- @field place string    "file:line:column"
--- @field hint? string

--- Rules: the name of a check below, or a table of keys.
local LOGGING = { driver = "string", options = "hash" }
local RUN = { http_port = "integer", https_port = "integer", metrics_port = "integer", debug = "boolean",
  log_max_size = "string", publish = "boolean", bind_ips = "strings", registry = "string", repository = "string",
  version = "string", options = "hash" }
local PROXY = {
  host = "string", hosts = "servers", app_port = "integer", ssl = "ssl", ssl_redirect = "boolean",
  forward_headers = "boolean", response_timeout = "integer", path_prefix = "string", path_prefixes = "strings",
  strip_path_prefix = "boolean", healthcheck = { interval = "integer", path = "string", timeout = "integer" },
  buffering = { requests = "boolean", responses = "boolean", max_request_body = "integer",
    max_response_body = "integer", memory = "integer" },
  logging = { request_headers = "strings", response_headers = "strings" }, run = RUN,
}
local REGISTRY = { server = "string", username = "credential", password = "credential" }
local ROLE = {
  hosts = "servers", cmd = "string", stop_timeout = "integer", options = "docker_options", logging = LOGGING,
  proxy = "role_proxy", labels = "labels", env = "env", asset_path = "string",
}
local ACCESSORY = {
  service = "string", image = "string", registry = REGISTRY, host = "string", hosts = "servers", role = "string",
  roles = "strings", tag = "string", tags = "strings", cmd = "string", port = "string", labels = "labels",
  options = "docker_options", env = "env", files = "paths", directories = "paths", volumes = "strings",
  network = "string", proxy = PROXY,
}
local BUILDER = {
  arch = "strings_or_string", remote = "string", ["local"] = "boolean",
  pack = { builder = "string", buildpacks = "strings" },
  cache = { type = "string", options = "string", image = "string" }, context = "string", dockerfile = "string",
  target = "string", args = "hash", secrets = "strings", ssh = "string", driver = "string", provenance = "string",
  sbom = "boolean",
}

--- The whole configuration.
M.ROOT = {
  service = "string", image = "string", labels = "string_hash", volumes = "strings", registry = REGISTRY,
  servers = "roles", env = "root_env", asset_path = "string", hooks_path = "string", hooks_output = "hooks_output",
  secrets_path = "string", error_pages_path = "string", require_destination = "boolean", primary_role = "string",
  allow_empty_roles = "boolean", retain_containers = "integer", minimum_version = "string",
  readiness_delay = "integer", deploy_timeout = "integer", drain_timeout = "integer", stop_timeout = "integer",
  run_directory = "string",
  ssh = { user = "string", port = "string", proxy = "string", proxy_command = "string", log_level = "string",
    keys_only = "boolean", keys = "strings", key_data = "strings", config = "ssh_config", forward_agent = "boolean" },
  builder = BUILDER, accessories = "accessories", proxy = PROXY,
  sshkit = { max_concurrent_starts = "integer", pool_idle_timeout = "integer", dns_retries = "integer" },
  boot = { limit = "string", wait = "integer", parallel_roles = "boolean" }, logging = LOGGING,
  output = { otel = { endpoint = "string" }, file = { path = "string" } }, aliases = "aliases",
}

--- What is ours, and Kamal ignores.
M.OURS = { host_keys = "host_keys", known_hosts = "string", migrate = "migrate",
  checks = { before = "check_list", after = "check_list" } }

--- Parts of the configuration by name, for `docs`.
--- @return table<string, table|string>
function M.sections()
  local out = { role = ROLE, accessory = ACCESSORY, ["x-deployrun"] = M.OURS }
  for key, rule in pairs(M.ROOT) do
    if type(rule) == "table" then out[key] = rule end
  end
  return out
end

local STRINGISH = { string = true, symbol = true, integer = true, float = true, boolean = true }
local is = {}
function is.string(node) return node.kind == "scalar" and STRINGISH[node.type] end
function is.integer(node) return node.type == "integer" end
function is.boolean(node) return node.type == "boolean" end
function is.array(node) return node.kind == "list" end
function is.hash(node) return node.kind == "map" end

local DESCRIPTION = { string = "a string", integer = "an integer", boolean = "a boolean", array = "an array",
  hash = "a hash" }

local Check = {}
Check.__index = Check

function Check:_add(path, message, place, hint)
  local context = path ~= "" and path .. ": " or ""
  self.problems[#self.problems + 1] = { message = context .. message, place = place, hint = hint }
end

--- Whether a value is of one of the types; else that is a problem.
function Check:_type(node, path, ...)
  local words = {}
  for index, name in ipairs { ... } do
    if is[name](node) then return true end
    words[index] = DESCRIPTION[name]
  end
  self:_add(path, "should be " .. table.concat(words, " or "), node:place())
  return false
end

local function below(path, key) return path == "" and tostring(key) or path .. "/" .. key end

local function names_of(keys)
  local out = {}
  for name in pairs(keys) do out[#out + 1] = name end
  table.sort(out)
  return out
end

function Check:_keys(node, keys, path, extensible)
  if not self:_type(node, path, "hash") then return end
  local known = names_of(keys)
  for _, key in ipairs(node.keys) do
    local rule = keys[key]
    if rule then
      self:_value(node:get(key), rule, below(path, key))
    elseif not (extensible and key:sub(1, 2) == "x-") then
      self:_add(path, "unknown key: " .. key, node:key_place(key), text.nearest_hint(key, known))
    end
  end
end

local checks = {}

function Check:_value(node, rule, path)
  if type(rule) == "table" then return self:_keys(node, rule, path) end
  return checks[rule](self, node, path)
end

function checks.string(self, node, path) self:_type(node, path, "string") end
function checks.integer(self, node, path) self:_type(node, path, "integer") end
function checks.boolean(self, node, path) self:_type(node, path, "boolean") end
function checks.hash(self, node, path) self:_type(node, path, "hash") end

function checks.strings(self, node, path)
  if not self:_type(node, path, "array") then return end
  for index, item in ipairs(node.items) do self:_type(item, below(path, index - 1), "string") end
end

function checks.strings_or_string(self, node, path)
  if node.kind == "list" then return checks.strings(self, node, path) end
  self:_type(node, path, "array", "string")
end

function checks.string_hash(self, node, path)
  if not self:_type(node, path, "hash") then return end
  for _, key in ipairs(node.keys) do self:_type(node:get(key), below(path, key), "string") end
end

--- Of docs/runbook.md's checks those that need no more than servers, an image and addresses.
local CHECK_KINDS = { clean = true, command = true, disk = true, http = true, image = true, reachable = true,
  window = true }
local RESERVED = { destination = true, role = true, service = true }

function checks.labels(self, node, path)
  checks.string_hash(self, node, path)
  if node.kind ~= "map" then return end
  for _, key in ipairs(node.keys) do
    if RESERVED[key] then
      self:_add(below(path, key), "invalid label. destination, role, and service are reserved labels",
        node:key_place(key))
    end
  end
end

function checks.docker_options(self, node, path)
  if not self:_type(node, path, "hash") then return end
  local restart = node:get("restart")
  if not restart then return end
  local where = below(path, "restart")
  if restart.type ~= "string" then
    self:_add(where, 'should be a string. Use "no" to disable restarts', restart:place())
  elseif not (restart.text == "no" or restart.text == "always" or restart.text == "unless-stopped"
    or restart.text == "on-failure" or restart.text:match("^on%-failure:%d+$")) then
    self:_add(where, "should be no, always, unless-stopped, on-failure, or on-failure:N", restart:place())
  end
end

function checks.servers(self, node, path)
  if not self:_type(node, path, "array") then return end
  for index, item in ipairs(node.items) do
    local where = below(path, index - 1)
    if self:_type(item, where, "string", "hash") and item.kind == "map" then
      if #item.keys ~= 1 then
        self:_add(where, "multiple hosts found", item:place())
      else
        local tags = item:get(item.keys[1])
        local named = below(where, item.keys[1])
        if self:_type(tags, named, "string", "array") and tags.kind == "list" then checks.strings(self, tags, named) end
      end
    end
  end
end

function checks.roles(self, node, path)
  if node:is_null() then return end
  if not self:_type(node, path, "array", "hash") then return end
  if node.kind == "list" then return checks.servers(self, node, path) end
  for _, name in ipairs(node.keys) do
    local role, where = node:get(name), below(path, name)
    if self:_type(role, where, "array", "hash") then
      if role.kind == "list" then checks.servers(self, role, where) else self:_keys(role, ROLE, where) end
    end
  end
end

local ENV_KEYS = { "clear", "secret", "tags" }

local function env(self, node, path, is_root)
  if not self:_type(node, path, "hash") then return end
  if not (node:get("clear") or node:get("secret") or node:get("tags")) then
    return checks.string_hash(self, node, path)
  end
  for _, key in ipairs(node.keys) do
    local value, where = node:get(key), below(path, key)
    if key == "clear" then
      checks.string_hash(self, value, where)
    elseif key == "secret" then
      checks.strings(self, value, where)
    elseif key ~= "tags" then
      self:_add(path, "unknown key: " .. key, node:key_place(key), text.nearest_hint(key, ENV_KEYS))
    elseif not is_root then
      self:_add(path, "tags are only allowed in the root env", node:key_place(key))
    elseif self:_type(value, where, "hash") then
      for _, tag in ipairs(value.keys) do env(self, value:get(tag), below(where, tag), false) end
    end
  end
end

function checks.env(self, node, path) env(self, node, path, false) end
function checks.root_env(self, node, path) env(self, node, path, true) end

function checks.ssl(self, node, path)
  if not is.boolean(node) and node.kind ~= "map" then return self:_type(node, path, "boolean", "hash") end
  if node.kind == "map" then
    self:_keys(node, { certificate_pem = "string", private_key_pem = "string" }, path)
  end
end

function checks.role_proxy(self, node, path)
  if node.type ~= "boolean" then self:_keys(node, PROXY, path) end
end

function checks.credential(self, node, path)
  if is.string(node) or node:is_null() then return end
  if node.kind == "list" and #node.items == 1 and is.string(node.items[1]) then return end
  self:_add(path, "should be a string or an array with one string (for secret lookup)", node:place())
end

function checks.hooks_output(self, node, path)
  if node.kind ~= "map" then return self:_type(node, path, "string") end
  for _, hook in ipairs(node.keys) do self:_type(node:get(hook), below(path, hook), "string") end
end

function checks.ssh_config(self, node, path)
  if node.kind == "list" then return checks.strings(self, node, path) end
  if not is.boolean(node) then self:_type(node, path, "boolean", "string", "array") end
end

function checks.paths(self, node, path)
  if not self:_type(node, path, "array") then return end
  for index, item in ipairs(node.items) do
    local where = below(path, index - 1)
    if self:_type(item, where, "string", "hash") and item.kind == "map" then
      for _, key in ipairs { "local", "remote", "mode", "owner", "options" } do
        if item:get(key) then self:_type(item:get(key), below(where, key), "string") end
      end
    end
  end
end

function checks.accessories(self, node, path)
  if not self:_type(node, path, "hash") then return end
  for _, name in ipairs(node.keys) do
    local accessory, where = node:get(name), below(path, name)
    self:_keys(accessory, ACCESSORY, where)
    if accessory.kind == "map" then
      local count = 0
      for _, key in ipairs { "host", "hosts", "role", "roles", "tag", "tags" } do
        if accessory:get(key) then count = count + 1 end
      end
      if count ~= 1 then
        self:_add(where, "specify one of `host`, `hosts`, `role`, `roles`, `tag` or `tags`", accessory:place())
      end
    end
  end
end

function checks.host_keys(self, node, path)
  if node.text ~= "strict" and node.text ~= "accept-new" then
    self:_add(path, 'should be "strict" or "accept-new"', node:place())
  end
end

function checks.migrate(self, node, path)
  if node.kind ~= "map" then return self:_type(node, path, "string", "hash") end
  self:_keys(node, { cmd = "string", timeout = "duration" }, path)
  if not node:get("cmd") or node:get("cmd"):is_blank() then self:_add(path, "cmd is required", node:place()) end
end

function checks.duration(self, node, path)
  if not pcall(text.parse_duration, node.text) then self:_add(path, 'should be a duration: "10m"', node:place()) end
end

function checks.check_list(self, node, path)
  if not self:_type(node, path, "array") then return end
  for index, item in ipairs(node.items) do
    local where = below(path, index - 1)
    local kind = self:_type(item, where, "hash") and item:get("check")
    if item.kind == "map" and not (kind and CHECK_KINDS[kind.text]) then
      self:_add(where, "check should be one of " .. table.concat(names_of(CHECK_KINDS), ", "),
        kind and kind:place() or item:place(), kind and text.nearest_hint(kind.text, names_of(CHECK_KINDS)))
    end
  end
end

function checks.aliases(self, node, path)
  if not self:_type(node, path, "hash") then return end
  for _, name in ipairs(node.keys) do
    local where = below(path, name)
    self:_type(node:get(name), where, "string")
    if not name:match("^[a-z0-9_-]+$") then
      self:_add(where, ("Invalid alias name: '%s'. Must only contain lowercase letters, alphanumeric, hyphens and " ..
        "underscores."):format(name), node:key_place(name))
    elseif self.commands[name] then
      self:_add(where, ("Alias '%s' conflicts with a built-in command."):format(name), node:key_place(name))
    end
  end
end

--- Every problem of a configuration's keys and types, in the order of the file.
--- @param root ConfigNode
--- @param commands table<string, boolean>  names that an alias must not have
--- @return ConfigProblem[]
function M.check(root, commands)
  local self = setmetatable({ problems = {}, commands = commands }, Check)
  self:_keys(root, M.ROOT, "", true)
  local ours = root:get("x-deployrun")
  if ours and not ours:is_null() then self:_keys(ours, M.OURS, "x-deployrun") end
  return self.problems
end

return M
