--- The containers of a project as `docker run` would be told them: flag by flag in Kamal's order, so that they can be
--- compared with Kamal's own, and from those the descriptions that the engine is given.

local configuration = require "kamal.configuration"
local docker_options = require "kamal.docker_options"
local document = require "kamal.document"
local fail = require "native.fail"
local naming = require "kamal.naming"
local shell_words = require "kamal.shell_words"

local M = {}

--- @class DockerRun
--- @field options { flag: string, value: string|true }[]  in order; as docker gets them, but for `${NAME}` and `$PWD`
--- @field image string
--- @field cmd? string     as it is written: a shell splits it
--- @field place? string   where the options stand, for errors
local Run = {}
Run.__index = Run

--- Adds an option.
--- @param flag string            without its dashes
--- @param value? string|true     nil: a flag alone
function Run:add(flag, value)
  self.options[#self.options + 1] = { flag = flag, value = value == nil and true or value }
end

local function is_present(node) return not node:is_blank() end

--- NAME=value; NAME alone where there is no value; false is a value.
function Run:_pair(flag, name, node)
  if node.value == false then return self:add(flag, name .. "=false") end
  self:add(flag, is_present(node) and name .. "=" .. node.text or name)
end

function Run:_logging(node)
  local driver, options = node and node:get("driver"), node and node:get("options")
  local has_driver, has_options = driver and is_present(driver), options and is_present(options)
  if not has_driver and not has_options then return self:add("log-opt", "max-size=10m") end
  if driver and not driver:is_null() then self:add("log-driver", driver.text) end
  for _, name in ipairs(options and options.keys or {}) do self:_pair("log-opt", name, options:get(name)) end
end

--- Adds what stands under an `options` key.
--- @param node? ConfigNode
function Run:add_options(node)
  for _, name in ipairs(node and node.keys or {}) do
    local value = node:get(name)
    if name ~= "restart" then
      for _, one in ipairs(value.kind == "list" and value.items or { value }) do
        self:add(name, one.value == true or one.text)
      end
    end
  end
end

function Run:_env(env)
  for _, one in ipairs(env.clear) do self:_pair("env", one.name, one.node) end
end

local function restart_of(node)
  local restart = node and node:get("restart")
  return restart and restart.text or "unless-stopped"
end

local function text_of(node) return node and not node:is_null() and node.text or nil end

--- A container without options.
--- @param image string
--- @param cmd? string
--- @param place? string
--- @return DockerRun
function M.new(image, cmd, place)
  return setmetatable({ options = {}, image = image, cmd = cmd, place = place }, Run)
end

local new = M.new

--- `path[:options]` of a role's assets; nil where it has none or gets no traffic.
--- @param config KamalConfig
--- @param role KamalRole
--- @return string? path
--- @return string? options
function M.assets(config, role)
  local node = role.node and role.node:get("asset_path") or config.root:get("asset_path")
  local raw = text_of(node)
  if not raw or raw == "" or not role.proxy then return nil end
  local path, options = raw:match("^([^:]*):(.*)$")
  return path or raw, options
end

local function labels_of(config, role)
  local out = { { "service", config.service }, { "role", role.name }, { "destination", config.destination or false } }
  local at = { service = 1, role = 2, destination = 3 }
  for _, node in ipairs { config.root:get("labels") or false, role.node and role.node:get("labels") or false } do
    for _, name in ipairs(node and node.keys or {}) do
      at[name] = at[name] or #out + 1
      out[at[name]] = { name, node:get(name) }
    end
  end
  return out
end

--- What a role's container logs with: the root's settings with the role's.
local function logging_of(config, role)
  local base, own = config.root:get("logging"), role.node and role.node:get("logging")
  return base and own and document.merge(base, own) or own or base
end

--- A role's container on a host.
--- @param config KamalConfig
--- @param role KamalRole
--- @param host string
--- @param given { version: string, hostname?: string }
--- @return DockerRun
function M.app(config, role, host, given)
  local options = role.node and role.node:get("options")
  local name = naming.container(config, role, given.version)
  local run = new(naming.image(config, given.version), text_of(role.node and role.node:get("cmd")), role.place)
  run:add("detach")
  run:add("restart", restart_of(options))
  run:add("name", name)
  run:add("network", naming.NETWORK)
  if given.hostname then run:add("hostname", given.hostname) end
  run:add("env", "KAMAL_CONTAINER_NAME=" .. name)
  run:add("env", "KAMAL_VERSION=" .. given.version)
  run:add("env", "KAMAL_HOST=" .. host)
  if config.destination then run:add("env", "KAMAL_DESTINATION=" .. config.destination) end
  run:_env(config:env(role, host))
  run:add("env-file", naming.role_env(config, role))
  run:_logging(logging_of(config, role))
  for _, volume in ipairs(config.volumes) do run:add("volume", volume) end
  local assets, asset_options = M.assets(config, role)
  if assets then
    local volume = ("$PWD/%s:%s"):format(naming.assets(config, "volumes", role, given.version), assets)
    run:add("volume", asset_options and asset_options ~= "" and volume .. ":" .. asset_options or volume)
  end
  for _, label in ipairs(labels_of(config, role)) do
    if type(label[2]) == "table" then
      run:_pair("label", label[1], label[2])
    else
      run:add("label", label[2] and label[1] .. "=" .. label[2] or label[1])
    end
  end
  run:add_options(options)
  return run
end

--- A throw-away container of a role for a command.
--- @param config KamalConfig
--- @param role KamalRole
--- @param host string
--- @param given { version: string, random?: string, name?: string, env?: table<string, string>, detach?: boolean }
--- @return DockerRun
function M.exec(config, role, host, given)
  local run = new(naming.image(config, given.version), nil, role.place)
  run:add(given.detach and "detach" or "rm")
  run:add("name", given.name or ("%s-exec-%s-%s"):format(naming.prefix(config, role), given.version, given.random))
  run:add("network", naming.NETWORK)
  run:_env(config:env(role, host))
  run:add("env-file", naming.role_env(config, role))
  local names = {}
  for name in pairs(given.env or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local value = given.env[name]
    run:add("env", value ~= "" and name .. "=" .. value or name)
  end
  run:_logging(logging_of(config, role))
  for _, volume in ipairs(config.volumes) do run:add("volume", volume) end
  run:add_options(role.node and role.node:get("options"))
  return run
end

local function is_absolute(path) return path:sub(1, 1) == "/" end

--- `local:remote[:options]` or a map: what is mounted, and what it is called on the server.
local function path_of(item)
  if item.kind == "map" then
    return { from = text_of(item:get("local")), to = text_of(item:get("remote")), mode = text_of(item:get("mode")),
      owner = text_of(item:get("owner")), options = text_of(item:get("options")) }
  end
  local from, rest = item.text:match("^([^:]*):(.*)$")
  local to, options = (rest or ""):match("^([^:]*):(.*)$")
  return { from = from or item.text, to = to or rest or "", options = options }
end

--- An accessory's files: where each comes from, where it lies on the server, where it is mounted.
--- @param accessory KamalAccessory
--- @return { from: string, path: string, to: string, mode: string, owner?: string, options?: string }[]
function M.accessory_files(accessory)
  local out, node = {}, accessory.node:get("files")
  for index, item in ipairs(node and node.items or {}) do
    local one = path_of(item)
    one.mode, one.path = one.mode or "755", accessory.service .. one.to
    out[index] = one
  end
  return out
end

--- An accessory's folders: likewise; `from` is a name below the accessory's own folder, or absolute.
--- @param accessory KamalAccessory
--- @return { from: string, path: string, to: string, mode?: string, owner?: string, options?: string }[]
function M.accessory_directories(accessory)
  local out, node = {}, accessory.node:get("directories")
  for index, item in ipairs(node and node.items or {}) do
    local one = path_of(item)
    one.path = is_absolute(one.from) and one.from or accessory.service .. "/" .. one.from
    out[index] = one
  end
  return out
end

function Run:_mount(path, to, options)
  local volume = (is_absolute(path) and path or "$PWD/" .. path) .. ":" .. to
  self:add("volume", options and options ~= "" and volume .. ":" .. options or volume)
end

local function port_of(accessory)
  local port = text_of(accessory.node:get("port"))
  return port and (port:find(":", 1, true) and port or port .. ":" .. port)
end

--- An accessory's container on a host.
--- @param config KamalConfig
--- @param accessory KamalAccessory
--- @param host string
--- @return DockerRun
function M.accessory(config, accessory, host)
  local node = accessory.node
  local options = node:get("options")
  local run = new(accessory.image, text_of(node:get("cmd")), accessory.place)
  run:add("name", accessory.service)
  run:add("detach")
  run:add("restart", restart_of(options))
  run:add("network", text_of(node:get("network")) or naming.NETWORK)
  run:_logging(config.root:get("logging"))
  local port = port_of(accessory)
  if port then run:add("publish", port) end
  run:add("env", "KAMAL_HOST=" .. host)
  run:_env(config:accessory_env(accessory))
  run:add("env-file", naming.accessory_env(config, accessory))
  for _, volume in ipairs(node:get("volumes") and node:get("volumes"):texts() or {}) do run:add("volume", volume) end
  for _, list in ipairs { M.accessory_files(accessory), M.accessory_directories(accessory) } do
    for _, one in ipairs(list) do run:_mount(one.path, one.to, one.options) end
  end
  run:add("label", "service=" .. accessory.service)
  local labels = node:get("labels")
  for _, name in ipairs(labels and labels.keys or {}) do run:_pair("label", name, labels:get(name)) end
  run:add_options(options)
  return run
end

--- A throw-away container of an accessory for a command.
--- @param config KamalConfig
--- @param accessory KamalAccessory
--- @return DockerRun
function M.accessory_exec(config, accessory)
  local node = accessory.node
  local run = new(accessory.image, nil, accessory.place)
  run:add("rm")
  run:add("network", text_of(node:get("network")) or naming.NETWORK)
  run:_env(config:accessory_env(accessory))
  run:add("env-file", naming.accessory_env(config, accessory))
  for _, volume in ipairs(node:get("volumes") and node:get("volumes"):texts() or {}) do run:add("volume", volume) end
  for _, list in ipairs { M.accessory_files(accessory), M.accessory_directories(accessory) } do
    for _, one in ipairs(list) do run:_mount(one.path, one.to, one.options) end
  end
  return run
end

--- The words of `docker run`, values unquoted.
--- @param run DockerRun
--- @return string[]
function M.argv(run)
  local out = { "docker", "run" }
  for _, option in ipairs(run.options) do
    out[#out + 1] = "--" .. option.flag
    if option.value ~= true then out[#out + 1] = option.value end
  end
  out[#out + 1] = run.image
  for _, word in ipairs(run.cmd and shell_words.split(run.cmd) or {}) do out[#out + 1] = word end
  return out
end

--- @class ContainerWorld  what a server's login shell would put in
--- @field home string
--- @field env fun(name: string): string?
--- @field file? string         the text of the env file
--- @field secrets? fun(name: string): any  a value of the env file as a secret

--- `${NAME}`, and in volumes `$NAME` and a leading `~/`.
local function expanded(value, world, is_volume)
  if not value:find("[$~]") then return value end
  local _ = world.home  -- asked for here: what gsub calls must not wait
  value = value:gsub("%${([%w_]+)}", function(name) return name == "PWD" and world.home or world.env(name) or "" end)
  if not is_volume then return value end
  value = value:gsub("^~/", function() return world.home .. "/" end)
  return (value:gsub("%$([%a_][%w_]*)", function(name)
    return name == "PWD" and world.home or world.env(name) or ""
  end))
end

--- The same words as that server's login shell would hand them to docker.
--- @param run DockerRun
--- @param world ContainerWorld
--- @return string[]
function M.argv_there(run, world)
  local out = { "docker", "run" }
  for _, option in ipairs(run.options) do
    out[#out + 1] = "--" .. option.flag
    if option.value ~= true then out[#out + 1] = expanded(option.value, world, option.flag == "volume") end
  end
  out[#out + 1] = run.image
  return out
end

--- Variables of an env file as the docker command reads it.
--- @param text string
--- @return { name: string, value: string }[]
function M.read_env_file(text)
  local out = {}
  for line in text:gmatch("[^\n]+") do
    local trimmed = line:match("^%s*(.*)$")
    local name, value = trimmed:match("^([^=]+)=(.*)$")
    if name and trimmed:sub(1, 1) ~= "#" then out[#out + 1] = { name = name, value = value } end
  end
  return out
end

--- The engine's description of a container. Raises `config.invalid` for options that docker does not have.
--- @param run DockerRun
--- @param world ContainerWorld
--- @return ContainerSpec
function M.spec(run, world)
  local spec = { image = run.image, env = {}, labels = {}, log_options = {} }
  for _, one in ipairs(M.read_env_file(world.file or "")) do
    spec.env[one.name] = world.secrets and world.secrets(one.name, one.value) or one.value
  end
  for _, option in ipairs(run.options) do
    local flag, value = option.flag, option.value
    if value ~= true then value = expanded(value, world, flag == "volume") end
    if flag == "env" and not value:find("=", 1, true) then
      spec.env[value] = world.env(value)
    elseif flag ~= "detach" and flag ~= "env-file" then
      local problem, hint = docker_options.set(spec, flag, value)
      if problem then
        fail.raise("config.invalid", (run.place and run.place .. ": " or "") .. problem,
          { where = run.place, hint = hint ~= "" and hint or nil })
      end
    end
  end
  if run.cmd then
    local words = shell_words.split(run.cmd, function(what)
      if what:match("[;|&<>()`]") then
        local message = "%s: cmd: `%s` would be read by the server's shell, outside of the container"
        fail.raise("config.invalid", message:format(run.place or "config", what),
          { where = run.place, hint = "quote it: sh -c '…'" })
      end
    end)
    for index, word in ipairs(words) do words[index] = expanded(word, world, false) end
    spec.cmd = words
  end
  return spec
end

--- The env file of secrets, as Kamal writes it: one line each, escaped as Ruby's `dump` does but for `"` and `#`.
--- @async
--- @param env KamalEnv
--- @param value_of fun(secret: string): string
--- @return string
function M.env_file(env, value_of)
  local lines = {}
  for index, item in ipairs(env.secret) do
    local name, secret = configuration.secret_name(item)
    lines[index] = ("%s=%s\n"):format(name, M.dumped(value_of(secret)))
  end
  return #lines > 0 and table.concat(lines) or "\n"
end

local ESCAPES = { ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r", ["\f"] = "\\f", ["\v"] = "\\v", ["\b"] = "\\b",
  ["\a"] = "\\a", ["\27"] = "\\e", ["\\"] = "\\\\" }

--- A value as Kamal puts it into an env file.
--- @param value string
--- @return string
function M.dumped(value)
  return (value:gsub("[%c\\]", function(char) return ESCAPES[char] or ("\\x%02X"):format(char:byte()) end))
end

return M
