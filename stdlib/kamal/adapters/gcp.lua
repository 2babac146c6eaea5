--- Google Secret Manager, by its program `gcloud` (kamal/adapters.lua).

local text = require "native.text"
local tools = require "kamal.adapters.tools"

local append, failed, must, need = tools.append, tools.failed, tools.must, tools.need
local parse, prefixed, run, split = tools.parse, tools.prefixed, tools.run, tools.split

--- @type SecretsAdapter
local gcp = { account = true }

function gcp.check(call) need(call, { "gcloud", "--version" }, "gcloud CLI") end

local function gcp_logged_in(call)
  return #parse(run(call, { "gcloud", "auth", "list", "--format=json" }).stdout, "gcloud") > 0
end

function gcp.login(call)
  if gcp_logged_in(call) then return end
  run(call, { "gcloud", "auth", "login" })
  if not gcp_logged_in(call) then failed("could not login to gcloud") end
end

function gcp.fetch(call, names)
  local user, service = call.account:match("^([^|]*)|(.*)$")
  user = user or call.account
  local results = {}
  for _, name in ipairs(prefixed(names, call.from)) do
    local parts = split(name, "/")
    if #parts == 1 then table.insert(parts, 1, "default") end
    local project, secret, version = parts[1], parts[2], parts[3] or "latest"
    local argv = { "gcloud", "secrets", "versions", "access", version, "--secret=" .. secret }
    if project ~= "default" then append(argv, "--project=" .. project) end
    if user ~= "default" then append(argv, "--account=" .. user) end
    if service then append(argv, "--impersonate-service-account=" .. service) end
    append(argv, "--format=json")
    local answer = parse(must(call, argv, ("Could not read %s/%s from Google Secret Manager"):format(project, secret)),
      "gcloud")
    local value = text.base64_decode(((answer.payload or {}).data or ""):gsub("%s", ""))
    if not value then failed(("Could not read %s/%s from Google Secret Manager"):format(project, secret)) end
    results[project .. "/" .. secret] = value
  end
  return results
end

return gcp
