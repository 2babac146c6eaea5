--- Style sheets and scripts that a page names and the app does not have: a page without its looks.

local fail = require "native.fail"
local task = require "native.task"

local M = {}

local MOST = 20  -- assets of a page that are asked for

M.FINDINGS = {
  { id = "assets.missing", severity = "error", title = "{count} of {all} assets of {page} answer 404",
    cause = "the image has other digests than its pages name: assets were not compiled in the build, or they were "
      .. "compiled for another environment",
    fix = "compile them in the image's build (rails assets:precompile, npm run build), then ship it: "
      .. "deployrun {recipe} deploy" },
  { id = "assets.page", severity = "error", title = "the page {page} cannot be had", cause = "{message}",
    fix = "{logs}" },
}

--- The paths of this site's style sheets, scripts and pictures in a page; each once.
--- @param html string
--- @return string[]
function M.of(html)
  local out, seen = {}, {}
  for attribute in html:gmatch("<(%a+[^>]*)>") do
    local tag = attribute:match("^%a+"):lower()
    local value = attribute:match("%f[%a]src%s*=%s*[\"']([^\"']+)")
    if tag == "link" then value = attribute:match("%f[%a]href%s*=%s*[\"']([^\"']+)") end
    local kinds = { link = true, script = true, img = true }
    if kinds[tag] and value and value:match("^/[^/]") and not seen[value] and #out < MOST then
      seen[value] = true
      out[#out + 1] = (value:gsub("&amp;", "&"))
    end
  end
  return out
end

--- @param patient Patient
--- @param say fun(id: string, facts: table)
function M.on_host(patient, say)
  local page = patient.options.assets
  if not page then return end
  for _, one in ipairs(patient:serving()) do
    local container = one.container
    local attached = container and container.running and container.networks[patient.app.config.network]
    if one.role.proxied and attached and attached.ip ~= "" then
      local base = ("http://%s:%d"):format(attached.ip, one.role.route.app_port)
      local function ask(path)
        return patient.host:probe(base .. path, "100-599", { timeout = "5s",
          headers = { Host = one.role.route.hosts[1], Connection = "close" },
          inside = patient.host.docker.rootless == true and container.pid or nil })
      end
      local facts = { page = page, recipe = patient.doctor.recipe,
        logs = patient:typed("docker logs --tail 100 " .. container.name) }
      local ok, reply = pcall(ask, page)
      if not ok or reply.status >= 400 then
        if task.cancellation() then error(reply, 0) end
        facts.message = ok and ("status %d"):format(reply.status) or fail.normal(reply).message
        return say("assets.page", facts)
      end
      local paths, missing = M.of(reply.body), {}
      for _, path in ipairs(paths) do
        local answer = ask(path)
        if answer.status == 404 then missing[#missing + 1] = path .. ": 404" end
      end
      if #missing > 0 then
        facts.count, facts.all, facts.evidence = #missing, #paths, missing
        say("assets.missing", facts)
      end
      return
    end
  end
end

return M
