--- A Kamal project's configuration: config/deploy.yml with its destination's file, rendered, merged, checked and looked
--- at by role, host and accessory. Everything is known before any host is asked; secrets are read when they are needed.

local commands = require "kamal.commands"
local cross_checks = require "kamal.cross_checks"
local document = require "kamal.document"
local environment = require "kamal.environment"
local erb = require "kamal.erb"
local fail = require "native.fail"
local files = require "native.files"
local git = require "native.git"
local secrets = require "kamal.secrets"
local validator = require "kamal.validator"

local M = {}

--- @class KamalEnv
--- @field clear { name: string, node: ConfigNode }[]  in the order in which they come to `docker run`
--- @field secret string[]                             "NAME" or "NAME:SECRET"

--- @class KamalProxy
--- @field node ConfigNode
--- @field hosts string[]
--- @field app_port integer
--- @field ssl boolean
--- @field custom_certificate boolean
--- @field run? { node: ConfigNode, digest: string }

--- @class KamalRole
--- @field name string
--- @field place string
--- @field node? ConfigNode      a map; nil for a list of hosts
--- @field hosts string[]
--- @field tags table<string, string[]>  by host
--- @field proxy? KamalProxy     nil: no traffic comes through the proxy
--- @field is_primary boolean

--- @class KamalAccessory
--- @field name string
--- @field service string
--- @field image string
--- @field hosts string[]
--- @field role_names string[]
--- @field node ConfigNode
--- @field place string
--- @field proxy? KamalProxy

--- @class KamalConfig
--- @field root ConfigNode
--- @field service string
--- @field destination? string
--- @field roles KamalRole[]
--- @field accessories KamalAccessory[]
--- @field hosts string[]
--- @field secrets KamalSecrets
--- @field environment Environment
local Config = {}
Config.__index = Config

local function texts(node) return node and node:texts() or {} end
local function text_of(node) return node and not node:is_null() and node.text or nil end

--- `a,b` or a list.
local function listed(node_list, node_text)
  if node_list then return texts(node_list) end
  local out = {}
  for one in (text_of(node_text) or ""):gmatch("[^,]+") do out[#out + 1] = one end
  return out
end

local function add_unique(list, seen, ...)
  for _, value in ipairs { ... } do
    if not seen[value] then
      seen[value] = true
      list[#list + 1] = value
    end
  end
end

--- Text that is the same for the same values.
local function digest(node)
  if node.kind == "scalar" then return node.type .. ":" .. node.text end
  local parts = {}
  for _, item in ipairs(node.items or {}) do parts[#parts + 1] = digest(item) end
  local keys = {}
  for index, key in ipairs(node.keys or {}) do keys[index] = key end
  table.sort(keys)
  for _, key in ipairs(keys) do parts[#parts + 1] = key .. "=" .. digest(node:get(key)) end
  return node.kind .. "(" .. table.concat(parts, ",") .. ")"
end

local function proxy_of(node)
  local ssl = node:get("ssl")
  local run = node:get("run")
  local certificate, key = node:dig("ssl", "certificate_pem"), node:dig("ssl", "private_key_pem")
  return {
    node = node, hosts = listed(node:get("hosts"), node:get("host")),
    app_port = node:get("app_port") and node:get("app_port").value or 80,
    ssl = ssl ~= nil and (ssl.kind == "map" or ssl.value == true),
    custom_certificate = certificate ~= nil and key ~= nil and not certificate:is_blank() and not key:is_blank(),
    run = run and not run:is_blank() and { node = run, digest = digest(run) } or nil,
  }
end

local function tagged_hosts(role, list)
  for _, item in ipairs(list and list.items or {}) do
    local host, tags = item.text, {}
    if item.kind == "map" then host, tags = item.keys[1], texts(item:get(item.keys[1])) end
    if host and not role.tags[host] then role.hosts[#role.hosts + 1] = host end
    if host then role.tags[host] = tags end
  end
end

function Config:_add_role(name, node, place)
  local role = { name = name, hosts = {}, tags = {}, place = place, node = node.kind == "map" and node or nil,
    is_primary = name == self.primary_role_name }
  tagged_hosts(role, node.kind == "list" and node or node:get("hosts"))
  local own = role.node and role.node:get("proxy")
  local on = own ~= nil and own.value ~= false and not own:is_null()
  if role.is_primary then on = not (own and own.value == false) end
  if on then
    local base = self.root:get("proxy") or document.map(node)
    role.proxy = proxy_of(own and own.kind == "map" and document.merge(base, own) or base)
  end
  self.roles[#self.roles + 1] = role
end

function Config:_read_roles()
  local servers = self.root:get("servers")
  if not servers or servers:is_null() then return end
  if servers.kind == "list" then return self:_add_role("web", servers, servers:place()) end
  local names = {}
  for index, name in ipairs(servers.keys) do names[index] = name end
  table.sort(names)
  for _, name in ipairs(names) do self:_add_role(name, servers:get(name), servers:key_place(name)) end
end

function Config:_tag_hosts(tag)
  local out = {}
  for _, role in ipairs(self.roles) do
    for _, host in ipairs(role.hosts) do
      for _, own in ipairs(role.tags[host]) do
        if own == tag then out[#out + 1] = host end
      end
    end
  end
  return out
end

function Config:_accessory_hosts(node)
  local out, seen, roles = {}, {}, {}
  if node:get("host") then add_unique(out, seen, node:get("host").text) end
  tagged_hosts({ hosts = out, tags = seen }, node:get("hosts"))
  for _, key in ipairs { "role", "roles" } do
    for _, name in ipairs(texts(node:get(key))) do
      roles[#roles + 1] = name
      local role = self:role(name)
      if role then add_unique(out, seen, unpack(role.hosts)) end
    end
  end
  for _, key in ipairs { "tag", "tags" } do
    for _, tag in ipairs(texts(node:get(key))) do add_unique(out, seen, unpack(self:_tag_hosts(tag))) end
  end
  return out, roles
end

function Config:_read_accessories()
  local all = self.root:get("accessories")
  for _, name in ipairs(all and all.kind == "map" and all.keys or {}) do
    local node = all:get(name)
    local hosts, roles = self:_accessory_hosts(node)
    local server = text_of(node:dig("registry", "server"))
    local image = text_of(node:get("image")) or ""
    local proxy = node:get("proxy")
    self.accessories[#self.accessories + 1] = { name = name, node = node, hosts = hosts, role_names = roles,
      place = all:key_place(name), service = text_of(node:get("service")) or self.service .. "-" .. name,
      image = server and server .. "/" .. image or image,
      proxy = proxy and not proxy:is_blank() and proxy_of(proxy) or nil }
  end
end

local function number_of(root, key, default)
  local node = root:get(key)
  return node and node.value or default
end

local function boot_of(config)
  local boot = config.root:get("boot")
  local limit = boot and text_of(boot:get("limit"))
  local percent = limit and limit:match("^(%d+)%%$")
  local count = percent and math.max(math.floor(#config.hosts * tonumber(percent) / 100), 1) or tonumber(limit)
  return { limit = count, wait = boot and boot:get("wait") and boot:get("wait").value,
    parallel_roles = boot ~= nil and boot:get("parallel_roles") ~= nil and boot:get("parallel_roles").value == true }
end

--- A configuration from a merged document whose keys and types are right.
local function build(root, given)
  local function text(key) return text_of(root:get(key)) end
  local server = text_of(root:dig("registry", "server"))
  local is_local = server ~= nil and (server == "localhost" or server:match("^localhost:") ~= nil)
  local self = setmetatable({
    root = root, destination = given.destination, environment = given.environment, declared_version = given.version,
    service = text("service") or "", registry = { server = server, is_local = is_local,
      port = is_local and (tonumber(server:match(":(%d+)$")) or 80) or nil },
    image = text("image") or (is_local and text("service") or nil),
    primary_role_name = text("primary_role") or "web", allow_empty_roles = number_of(root, "allow_empty_roles", false),
    require_destination = number_of(root, "require_destination", false),
    retain_containers = number_of(root, "retain_containers", 5),
    readiness_delay = number_of(root, "readiness_delay", 7), deploy_timeout = number_of(root, "deploy_timeout", 30),
    drain_timeout = number_of(root, "drain_timeout", 30), minimum_version = text("minimum_version"),
    hooks_path = text("hooks_path") or ".kamal/hooks", secrets_path = text("secrets_path") or ".kamal/secrets",
    error_pages_path = text("error_pages_path"), volumes = texts(root:get("volumes")), roles = {}, accessories = {},
    hosts = {},
  }, Config)
  self.secrets = secrets.new { path = self.secrets_path, destination = given.destination,
    environment = given.environment }
  self:_read_roles()
  self:_read_accessories()
  local seen = {}
  for _, list in ipairs { self.roles, self.accessories } do
    for _, one in ipairs(list) do add_unique(self.hosts, seen, unpack(one.hosts)) end
  end
  self.boot = boot_of(self)
  return self
end

local function read_file(path, env)
  if not files.exists(path) then
    fail.raise("config.invalid", "Configuration file not found in " .. path, { path = path })
  end
  local rendered, lines = erb.render(files.read(path), { file = path, environment = env })
  local root = document.read(rendered, path, lines)
  if root:is_null() then return document.map(root) end
  return root
end

--- One error for all problems: the first, the others beside it.
local function raise(problems)
  local first
  for index, problem in ipairs(problems) do
    local err = fail.make("config.invalid", ("%s: %s"):format(problem.place, problem.message),
      { where = problem.place, hint = problem.hint ~= "" and problem.hint or nil })
    if index == 1 then
      first = err
      first.also = {}
    else
      table.insert(first.also, err)
    end
  end
  if first then error(first, 0) end
end

--- The files' keys, merged, not checked.
--- @async
--- @param given { config_file: string, destination?: string, environment?: Environment }
--- @return ConfigNode
function M.read(given)
  local env = given.environment
  if given.destination then env:set("KAMAL_DESTINATION", given.destination) end
  local root = read_file(given.config_file, env)
  if given.destination then
    local path = given.config_file:gsub("%.[^./]*$", "") .. "." .. given.destination .. ".yml"
    root = document.merge(root, read_file(path, env))
  end
  return root
end

--- A project's configuration. Raises `config.invalid` with all that is wrong, `kamal.erb`, `yaml.*`.
--- @async
--- @param given { config_file: string, destination?: string, version?: string, environment?: Environment }
--- @return KamalConfig
function M.load(given)
  given.environment = given.environment or environment.new()
  local root = M.read(given)
  local names = {}
  for _, command in ipairs(commands.LIST) do
    if not command.ours then names[command.name:match("^%S+")] = true end
  end
  local problems = validator.check(root, names)
  raise(problems)
  local config = build(root, given)
  raise(cross_checks.check(config, files.exists))
  return config
end

--- @param name string
--- @return KamalRole?
function Config:role(name)
  for _, role in ipairs(self.roles) do
    if role.name == name then return role end
  end
end

--- @param name string
--- @return KamalAccessory?
function Config:accessory(name)
  for _, accessory in ipairs(self.accessories) do
    if accessory.name == name then return accessory end
  end
end

--- Roles of a host.
--- @param host string
--- @return KamalRole[]
function Config:roles_on(host)
  local out = {}
  for _, role in ipairs(self.roles) do
    if role.tags[host] then out[#out + 1] = role end
  end
  return out
end

--- How the proxy is run on a host, as each role and accessory there says it.
--- @param host string
--- @return { node: ConfigNode, digest: string }[]
function Config:proxy_runs(host)
  local out = {}
  for _, role in ipairs(self:roles_on(host)) do
    if role.proxy and role.proxy.run then out[#out + 1] = role.proxy.run end
  end
  for _, accessory in ipairs(self.accessories) do
    for _, own in ipairs(accessory.hosts) do
      if own == host and accessory.proxy and accessory.proxy.run then out[#out + 1] = accessory.proxy.run end
    end
  end
  return out
end

--- The version that is acted on: `--version`, else VERSION, else the commit that is checked out.
--- @async
--- @return string
function Config:version()
  if self.declared_version then return self.declared_version end
  local from_env = self.environment:get("VERSION")
  if from_env and from_env ~= "" then return from_env end
  if not self._git_version then
    local context = text_of(self.root:dig("builder", "context"))
    local version = git.revision()
    if context and git.dirty() then
      version = version .. "_uncommitted_" .. require("native.text").sha256(version .. os.time()):sub(1, 16)
    end
    self._git_version = version
  end
  return self._git_version
end

local function env_of(node)
  local out = { clear = {}, secret = {} }
  if not node then return out end
  local plain = not (node:get("clear") or node:get("secret") or node:get("tags"))
  local clear = plain and node or node:get("clear")
  for _, key in ipairs(clear and clear.keys or {}) do
    out.clear[#out.clear + 1] = { name = key, node = clear:get(key) }
  end
  out.secret = plain and {} or texts(node:get("secret"))
  return out
end

--- Ruby's `merge`: a name that is there keeps its place and takes the new value.
local function merge_env(into, env)
  local at, known = {}, {}
  for index, one in ipairs(into.clear) do at[one.name] = index end
  for _, one in ipairs(env.clear) do
    if at[one.name] then
      into.clear[at[one.name]] = one
    else
      into.clear[#into.clear + 1] = one
      at[one.name] = #into.clear
    end
  end
  for _, name in ipairs(into.secret) do known[name] = true end
  add_unique(into.secret, known, unpack(env.secret))
end

--- The environment of a role on a host: the root's, the role's, its tags'.
--- @param role KamalRole
--- @param host string
--- @return KamalEnv
function Config:env(role, host)
  local out = env_of(nil)
  merge_env(out, env_of(self.root:get("env")))
  merge_env(out, env_of(role.node and role.node:get("env")))
  for _, tag in ipairs(role.tags[host] or {}) do
    local node = self.root:dig("env", "tags", tag)
    if node then merge_env(out, env_of(node)) end
  end
  return out
end

--- @param accessory KamalAccessory
--- @return KamalEnv
function Config:accessory_env(accessory) return env_of(accessory.node:get("env")) end

--- The name of the variable, and of the secret, that an item of `secret` stands for.
--- @param item string
--- @return string name
--- @return string secret
function M.secret_name(item)
  local name, other = item:match("^([^:]*):(.*)$")
  return name or item, other or item
end

return M
