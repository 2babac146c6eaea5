--- Kamal's names for what an app has on a server: containers, images, files, the proxy's services. A server is deployed
--- to with either tool, so these are Kamal's to the byte.

local M = {}

M.NETWORK = "kamal"
M.PROXY_CONTAINER = "kamal-proxy"
M.PROXY_VERSION = "v0.9.2"
M.PROXY_IMAGE = "basecamp/kamal-proxy"
M.RUN_DIRECTORY = ".kamal"
M.APPS_CONFIG = "/home/kamal-proxy/.apps-config"

local function joined(...)
  local parts = {}
  for index = 1, select("#", ...) do
    local part = select(index, ...)
    if part ~= nil then parts[#parts + 1] = part end
  end
  return table.concat(parts, "-")
end

--- "shop-staging"
--- @param config KamalConfig
--- @return string
function M.service(config) return joined(config.service, config.destination) end

--- What a role's containers begin with, which is its service's name in the proxy too.
--- @param config KamalConfig
--- @param role KamalRole
--- @return string
function M.prefix(config, role) return joined(config.service, role.name, config.destination) end

--- @param config KamalConfig
--- @param role KamalRole
--- @param version string
--- @return string
function M.container(config, role, version) return joined(M.prefix(config, role), version) end

--- The version that a container's name tells; nil where it is none of that role.
--- @param config KamalConfig
--- @param role KamalRole
--- @param name string
--- @return string?
function M.version_of(config, role, name)
  local prefix = M.prefix(config, role) .. "-"
  return name:sub(1, #prefix) == prefix and name:sub(#prefix + 1) or nil
end

--- @param config KamalConfig
--- @return string
function M.repository(config)
  return config.registry.server and config.registry.server .. "/" .. config.image or config.image
end

--- @param config KamalConfig
--- @param version string
--- @return string
function M.image(config, version) return M.repository(config) .. ":" .. version end

--- @param config KamalConfig
--- @return string
function M.latest_tag(config) return joined("latest", config.destination) end

--- @param config KamalConfig
--- @return string
function M.latest_image(config) return M.image(config, M.latest_tag(config)) end

--- Seven characters, or all of what is no plain commit.
--- @param version string
--- @return string
function M.abbreviated(version) return version:find("_", 1, true) and version or version:sub(1, 7) end

--- The app's folder; like all others relative to the SSH user's home.
--- @param config KamalConfig
--- @return string
function M.app_directory(config) return ".kamal/apps/" .. M.service(config) end

--- @param config KamalConfig
--- @param role KamalRole
--- @return string
function M.role_env(config, role) return ("%s/env/roles/%s.env"):format(M.app_directory(config), role.name) end

--- @param config KamalConfig
--- @param accessory KamalAccessory
--- @return string
function M.accessory_env(config, accessory)
  return ("%s/env/accessories/%s.env"):format(M.app_directory(config), accessory.name)
end

--- @param config KamalConfig
--- @param kind "extracted"|"volumes"
--- @param role KamalRole
--- @param version string
--- @return string
function M.assets(config, kind, role, version)
  return ("%s/assets/%s/%s-%s"):format(M.app_directory(config), kind, role.name, version)
end

--- @param config KamalConfig
--- @return string
function M.lock(config) return ".kamal/" .. joined("lock", config.service, config.destination) end

--- @param config KamalConfig
--- @return string
function M.audit(config) return ".kamal/" .. joined(config.service, config.destination, "audit.log") end

--- Where the proxy finds an app's error pages and certificates: on the server, and in its container.
--- @param config KamalConfig
--- @return string on_server
--- @return string in_container
function M.proxy_app(config)
  return ".kamal/proxy/apps-config/" .. M.service(config), M.APPS_CONFIG .. "/" .. M.service(config)
end

--- A container's host name: what a host is called, short enough, and something of its own.
--- @param host string
--- @param random string  hexadecimal
--- @return string
function M.hostname(host, random) return (host:sub(1, 51):gsub("%.$", "")) .. "-" .. random:sub(1, 12) end

return M
