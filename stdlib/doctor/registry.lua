--- The registry as each server sees it: unreachable, or it refuses our credentials.

local fail = require "native.fail"
local task = require "native.task"

local M = {}

M.FINDINGS = {
  { id = "registry.denied", severity = "error", title = "the registry {registry} refuses us",
    cause = "{why}", fix = "{mend}" },
  { id = "registry.unreachable", severity = "error", title = "the registry {registry} does not answer {host}",
    cause = "{message}", fix = "{typed}    then mend DNS, the firewall or the registry" },
  { id = "registry.no_tag", severity = "warning", title = "the registry has no {image} any more",
    cause = "the tag of what serves was removed: it could not be pulled again on a new server",
    fix = "{typed}    or build it anew" },
}

local function registry_of(image) return image:match("^([^/]+[.:][^/]*)/") or "docker.io" end

--- The finding for what asking a registry failed with; nil for what is no registry's failure.
--- @param err table
--- @param image string
--- @param username string?
--- @param password_name string?
--- @return string? id
--- @return table? facts
function M.of(err, image, username, password_name)
  local registry = registry_of(image)
  local facts = { registry = registry, image = image, message = err.message, evidence = { err.message } }
  local said = (err.message .. " " .. (err.cause and err.cause.message or "")):lower()
  if err.kind == "docker.auth" or said:find("unauthorized", 1, true) or said:find("denied", 1, true)
    or said:find("no basic auth", 1, true) or said:find("authentication required", 1, true) then
    facts.why = "it wants credentials, and the inventory names none (`registry.username`, `registry.password`)"
    facts.mend = "name `registry.username` and `registry.password` in the inventory"
    if username then
      local password = password_name or "the inventory's secret"
      facts.why = ("it does not take the user %s with the password in %s, or that user may not read %s"):format(
        username, password, image)
      facts.mend = ("docker login %s -u %s    (asks for the password); then put the one that works into %s"):format(
        registry, username, password)
    end
    return "registry.denied", facts
  end
  if err.kind == "docker.not_found" then return "registry.no_tag", facts end
  if err.kind == "docker.pull" or err.kind == "docker.engine" or err.kind == "timeout" then
    return "registry.unreachable", facts
  end
end

--- @param patient Patient
--- @param say fun(id: string, facts: table)
function M.on_host(patient, say)
  local config = patient.app.config
  if config.pull == "ship" then return end
  local serving
  for _, one in ipairs(patient:serving()) do serving = serving or one.facts end
  local version = serving and serving.version
  if not version and config.compose then return end  -- the file's name of the image waits for a version
  local image = version and patient.app:image(version) or config.image .. ":latest"
  local ok, err = pcall(task.within, 15000, "the registry", function()
    return patient.host.docker:inspect_remote_image(image, { credentials = patient.app._credentials })
  end)
  if ok then return end
  if task.cancellation() then error(err, 0) end
  err = fail.normal(err)
  local settings = config.registry or {}
  local name = type(settings.password) == "string" and settings.password or nil
  local id, facts = M.of(err, image, settings.username, name)
  if not id then error(err, 0) end
  if id == "registry.no_tag" and not version then return end  -- nothing was ever shipped, and it took our credentials
  local registry = registry_of(image)
  facts.typed = id == "registry.no_tag" and patient:typed("docker push " .. image)
    or patient:typed(("curl -sS -o /dev/null -w '%%{http_code}' https://%s/v2/"):format(registry))
  say(id, facts)
end

return M
