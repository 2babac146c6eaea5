--- Files that the proxy reads from the server: an app's own error pages, and certificates of its own.

local files = require "native.files"
local naming = require "kamal.naming"

local M = {}

local READABLE = "0644"  -- the proxy's user in its container is not the one who writes them
local CLOSED = ".kamal/proxy"  -- above what the proxy mounts, so that nobody else on the server gets to the keys

--- Uploads a version's error pages: 4xx.html and 5xx.html of `error_pages_path`.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param version string
function M.error_pages(project, host, version)
  local from = project.config.error_pages_path
  if not from then return end
  local folder = ("%s/error_pages/%s"):format((naming.proxy_app(project.config)), version)
  host:exec { "mkdir", "-p", folder }
  for _, one in ipairs(files.list(from)) do
    if one.name:match("^[45]..%.html$") then
      host:write(folder .. "/" .. one.name, files.read(from .. "/" .. one.name), { mode = READABLE })
    end
  end
end

--- Uploads the certificate that a proxied role or accessory brings itself.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param proxy KamalProxy?
--- @param role? string
function M.certificate(project, host, proxy, role)
  if not proxy or not proxy.custom_certificate then return end
  local folder = naming.proxy_app(project.config) .. "/tls" .. (role and "/" .. role or "")
  host:exec { "mkdir", "-p", CLOSED }
  host:exec { "chmod", "go=", CLOSED }
  for _, one in ipairs { { "cert.pem", "certificate_pem" }, { "key.pem", "private_key_pem" } } do
    host:write(folder .. "/" .. one[1], project.config.secrets:get(proxy.node:dig("ssl", one[2]).text),
      { mode = READABLE, make_parents = true })
  end
end

--- Both, for all that the proxy serves of the app on a host.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param version string
function M.upload(project, host, version)
  M.error_pages(project, host, version)
  for _, role in ipairs(project:roles_on(host)) do M.certificate(project, host, role.proxy, role.name) end
end

--- Whether there is anything to upload.
--- @param project KamalProject
--- @return boolean
function M.any(project)
  if project.config.error_pages_path then return true end
  for _, role in ipairs(project.roles) do
    if role.proxy and role.proxy.custom_certificate then return true end
  end
  return false
end

--- Removes the error pages of other versions.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param version string
function M.clean(project, host, version)
  if not project.config.error_pages_path then return end
  local above = (naming.proxy_app(project.config)) .. "/error_pages"
  host:exec { "find", above, "-maxdepth", "1", "-mindepth", "1", "!", "-name", version, "-exec", "rm", "-rf", "{}",
    "+" }
end

return M
