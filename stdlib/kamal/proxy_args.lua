--- What kamal-proxy is told (v0.9.2), flag by flag in Kamal's order.

local naming = require "kamal.naming"

local M = {}

local LOGGED = { "Cache-Control", "Last-Modified", "User-Agent" }

local function text_of(node) return node and not node:is_null() and node.text or nil end
local function seconds(node) return node and node.value ~= nil and node.value ~= false and node.text .. "s" or nil end

--- `kamal-proxy deploy` of a role, or of an accessory that the proxy serves.
--- @param config KamalConfig
--- @param proxy KamalProxy
--- @param given { service: string, target: string, port?: integer, version?: string, role?: string }  target: a
---   container's short ID; port: where it listens, where that is not what the configuration says now
--- @return string[]
function M.deploy(config, proxy, given)
  local node = proxy.node
  local argv = { "kamal-proxy", "deploy", given.service, ("--target=%s:%s"):format(given.target,
    ("%.0f"):format(given.port or proxy.app_port)) }
  local function add(flag, value)
    if value == nil then return end
    argv[#argv + 1] = value == true and "--" .. flag or ("--%s=%s"):format(flag, tostring(value))
  end
  local function add_all(flag, values)
    for _, value in ipairs(values) do add(flag, value) end
  end
  local function own(flag, ...)
    local found = node:dig(...)
    if not found or found:is_null() then return end
    if found.type == "boolean" then add(flag, found.value) else add(flag, found.text) end
  end
  add_all("host", proxy.hosts)
  if proxy.ssl then add("tls", true) end
  if proxy.custom_certificate then
    local _, folder = naming.proxy_app(config)
    folder = folder .. "/tls" .. (given.role and "/" .. given.role or "")
    add("tls-certificate-path", folder .. "/cert.pem")
    add("tls-private-key-path", folder .. "/key.pem")
  end
  add("deploy-timeout", ("%.0fs"):format(config.deploy_timeout))
  add("drain-timeout", ("%.0fs"):format(config.drain_timeout))
  add("health-check-interval", seconds(node:dig("healthcheck", "interval")))
  add("health-check-timeout", seconds(node:dig("healthcheck", "timeout")))
  add("health-check-path", text_of(node:dig("healthcheck", "path")))
  add("target-timeout", seconds(node:get("response_timeout")))
  for _, kind in ipairs { "requests", "responses" } do
    local buffer = node:dig("buffering", kind)
    add("buffer-" .. kind, buffer == nil or buffer.value)
  end
  own("buffer-memory", "buffering", "memory")
  own("max-request-body", "buffering", "max_request_body")
  own("max-response-body", "buffering", "max_response_body")
  local prefixes, prefix = node:get("path_prefixes"), text_of(node:get("path_prefix"))
  if prefixes then add_all("path-prefix", prefixes:texts()) end
  for one in (not prefixes and prefix or ""):gmatch("[^,]+") do add("path-prefix", one) end
  own("strip-path-prefix", "strip_path_prefix")
  own("forward-headers", "forward_headers")
  own("tls-redirect", "ssl_redirect")
  local requests, responses = node:dig("logging", "request_headers"), node:dig("logging", "response_headers")
  add_all("log-request-header", requests and requests:texts() or LOGGED)
  add_all("log-response-header", responses and responses:texts() or {})
  if config.error_pages_path then
    local _, folder = naming.proxy_app(config)
    add("error-pages", ("%s/error_pages/%s"):format(folder, given.version or ""))
  end
  return argv
end

--- `kamal-proxy stop`: maintenance.
--- @param service string
--- @param given { drain_timeout: number, message?: string }
--- @return string[]
function M.stop(service, given)
  local argv = { "kamal-proxy", "stop", service, ("--drain-timeout=%.0fs"):format(given.drain_timeout) }
  if given.message then argv[#argv + 1] = "--message=" .. given.message end
  return argv
end

return M
