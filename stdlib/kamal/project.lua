--- A Kamal project in one invocation: its configuration, the hosts and roles that the command line chose, and its
--- servers as hosts to talk to.

local configuration = require "kamal.configuration"
local containers = require "kamal.containers"
local deploy_host = require "deploy.host"
local environment = require "kamal.environment"
local fail = require "native.fail"
local grammar = require "kamal.grammar"
local naming = require "kamal.naming"
local secret = require "native.secret"
local starting = require "deploy.host.starting"

local M = {}

local DNS_RETRIES = 3

--- @class KamalProject
--- @field config KamalConfig
--- @field options table<string, any>  of the command line
--- @field command string              "app exec"
--- @field hosts Host[]                chosen, those of the primary role first
--- @field app_hosts Host[]
--- @field proxy_hosts Host[]
--- @field roles KamalRole[]           chosen, the primary one first
--- @field primary_host Host
--- @field primary_role KamalRole?
local Project = {}
Project.__index = Project

local function split(text)
  local out = {}
  for one in (text or ""):gmatch("[^,]+") do out[#out + 1] = one end
  return out
end

local function set_of(list)
  local out = {}
  for _, one in ipairs(list) do out[one] = true end
  return out
end

local function chosen(filter, items, flag, name_of)
  local found = grammar.filter(split(filter), items, name_of)
  if #found == 0 then fail.usage(("No --%s match for %s"):format(flag, filter), { token = filter }) end
  return found
end

--- Sorts in place what `first` holds of before the rest; the order stays otherwise.
local function first_come(list, first)
  local out = {}
  for _, wanted in ipairs { true, false } do
    for _, one in ipairs(list) do
      if first(one) == wanted then out[#out + 1] = one end
    end
  end
  return out
end

local function any_host(role, set)
  for _, host in ipairs(role.hosts) do
    if set[host] then return true end
  end
  return false
end

--- Which roles and hosts the flags leave.
function Project:_choose()
  local config, options = self.config, self.options
  local roles = options.roles and chosen(options.roles, config.roles, "roles", function(role) return role.name end)
  local names = options.hosts and chosen(options.hosts, config.hosts, "hosts")
  if options.primary then
    local role = roles and roles[1] or config:role(config.primary_role_name)
    names = { role and role.hosts[1] }
  end
  local host_set = set_of(names or config.hosts)
  self.roles = {}
  for _, role in ipairs(roles or config.roles) do
    if any_host(role, host_set) then self.roles[#self.roles + 1] = role end
  end
  local hosts = names or config.hosts
  if roles then
    local of_roles, left = {}, {}
    for _, role in ipairs(roles) do
      for _, host in ipairs(role.hosts) do of_roles[host] = true end
    end
    for _, host in ipairs(hosts) do
      if of_roles[host] then left[#left + 1] = host end
    end
    hosts = left
  end
  local primary_of = function(list)
    for _, role in ipairs(list) do
      if role.is_primary then return role end
    end
    return list[1]
  end
  local of_config = config:role(config.primary_role_name)
  local specific = roles and primary_of(roles)
  local primary_host = names and names[1] or specific and specific.hosts[1] or of_config and of_config.hosts[1]
    or hosts[1]
  local on_primary = {}
  for _, role in ipairs(self.roles) do
    if role.tags[primary_host] then on_primary[#on_primary + 1] = role end
  end
  self.primary_role = primary_of(on_primary)
  self.roles = first_come(self.roles, function(role) return role == self.primary_role end)
  self._names = first_come(hosts, function(host)
    return self.primary_role ~= nil and self.primary_role.tags[host] ~= nil
  end)
  self._primary_name = primary_host
end

--- The private keys of `ssh.key_data`: names of secrets, or (as old versions of Kamal had it) the keys themselves.
function Project:_key_data(node)
  local out = {}
  for index, item in ipairs(node:texts()) do
    local is_key = item:find("PRIVATE KEY", 1, true)
    out[index] = is_key and secret.value("ssh.key_data", item) or self.config.secrets:get(item)
  end
  return out
end

--- @param name string
--- @return Host
function Project:host(name)
  local ssh = self.config.root:get("ssh")
  local function value(key)
    local node = ssh and ssh:get(key)
    return node and not node:is_null() and node or nil
  end
  local own = self.config.root:dig("x-deployrun", "host_keys")
  local keys, proxy, config = value("keys"), value("proxy"), value("config")
  local key_data, keys_only = value("key_data"), value("keys_only")
  local known_hosts = self.config.root:dig("x-deployrun", "known_hosts")
  return deploy_host.host {
    address = name, name = name, user = value("user") and value("user").text or "root",
    port = value("port") and tonumber(value("port").text) or nil, keys = keys and keys:texts() or nil,
    jump = proxy and (proxy.text:find("@", 1, true) and proxy.text or "root@" .. proxy.text) or nil,
    proxy_command = not proxy and value("proxy_command") and value("proxy_command").text or nil,
    keys_only = keys_only and keys_only.value or nil, key_data = key_data and function()
      return self:_key_data(key_data)
    end or nil,
    config = config and (config.type == "string" and config.text or config.value) or nil,
    accept_new = own ~= nil and own.text == "accept-new" or nil,
    known_hosts = known_hosts and known_hosts.text or nil,
  }
end

--- How connections are begun: all at once unless told, a name looked up again three times as in Kamal.
local function set_starting(config)
  local function number(key)
    local node = config.root:dig("sshkit", key)
    return node and not node:is_null() and node.value or nil
  end
  starting.set { at_once = number("max_concurrent_starts"), lookups = number("dns_retries") or DNS_RETRIES }
end

local function on(self, wanted)
  local out = {}
  for _, name in ipairs(self._names) do
    if wanted(name) then out[#out + 1] = self:host(name) end
  end
  return out
end

--- Reads the configuration and applies the command line's filters.
--- @async
--- @param command string
--- @param options table<string, any>
--- @param arguments string[]
--- @return KamalProject
function M.open(command, options, arguments)
  local env = environment.new()
  local self = setmetatable({ command = command, options = options, arguments = arguments, environment = env }, Project)
  self.config = configuration.load { config_file = options.config_file, destination = options.destination,
    version = options.version, environment = env }
  self:_choose()
  local config = self.config
  set_starting(config)
  self.hosts = on(self, function() return true end)
  self.app_hosts = on(self, function(name) return #config:roles_on(name) > 0 end)
  self.proxy_hosts = on(self, function(name)
    for _, role in ipairs(config:roles_on(name)) do
      if role.proxy then return true end
    end
    for _, accessory in ipairs(config.accessories) do
      if accessory.proxy and set_of(accessory.hosts)[name] then return true end
    end
    return false
  end)
  self.primary_host = self._primary_name and self:host(self._primary_name)
  return self
end

--- The chosen roles of a host, the primary one first.
--- @param host Host
--- @return KamalRole[]
function Project:roles_on(host)
  local out = {}
  for _, role in ipairs(self.roles) do
    if role.tags[host.name] then out[#out + 1] = role end
  end
  return out
end

--- Where an accessory runs, of the chosen hosts.
--- @param accessory KamalAccessory
--- @return Host[]
function Project:accessory_hosts(accessory)
  local own = set_of(accessory.hosts)
  return on(self, function(name) return own[name] ~= nil end)
end

--- The accessory of that name; raises `usage` naming those that there are.
--- @param name string
--- @return KamalAccessory
function Project:accessory(name)
  local found = self.config:accessory(name)
  if found then return found end
  local names = {}
  for index, one in ipairs(self.config.accessories) do names[index] = one.name end
  fail.usage(("No accessory by the name of '%s'%s"):format(name,
    #names > 0 and (" (options: %s)"):format(table.concat(names, ", ")) or ""), { token = name })
end

--- What a server's login shell would put in, asked only when something needs it.
local function world_of(host, file, secrets)
  local asked
  local function ask()
    if asked then return asked end
    asked = {}
    for name, value in host:exec({ "env" }, { reads = true }).stdout:gmatch("([%w_]+)=([^\n]*)") do
      asked[name] = value
    end
    return asked
  end
  return setmetatable({ env = function(name) return ask()[name] end, file = file, secrets = secrets },
    { __index = function(_, key) return key == "home" and ask().HOME or nil end })
end

--- The engine's description of a container there.
--- @async
--- @param host Host
--- @param run DockerRun
--- @param file? string  the text of its env file
--- @param secrets? fun(name: string, value: string): any
--- @return ContainerSpec
function Project:spec(host, run, file, secrets) return containers.spec(run, world_of(host, file, secrets)) end

--- The words of `docker run` there, without a command.
--- @async
--- @param host Host
--- @param run DockerRun
--- @return string[]
function Project:argv(host, run) return containers.argv_there(run, world_of(host)) end

--- Whether a registry wants a password; reads no secret.
--- @param node? ConfigNode  of an accessory's own
--- @return boolean
function Project:has_credentials(node)
  node = node or self.config.root:get("registry")
  local password = node and node:get("password")
  return not self.config.registry.is_local and password ~= nil and not password:is_null()
end

--- Credentials of a registry, given with each request and stored nowhere.
--- @async
--- @param node? ConfigNode  of an accessory's own
--- @return table?
function Project:credentials(node)
  if not self:has_credentials(node) then return nil end
  node = node or self.config.root:get("registry")
  local function value(key)
    local found = node:get(key)
    if not found or found:is_null() then return nil end
    return found.kind == "list" and self.config.secrets:get(found.items[1].text) or found.text
  end
  return { username = value "username", password = value "password", registry = value "server" }
end

--- "Web/1.2.3.4", for messages.
--- @param role KamalRole
--- @param version string
--- @return string
function Project:container(role, version) return naming.container(self.config, role, version) end

return M
