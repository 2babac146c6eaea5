--- Vendors of secrets, each by its own program: `fetch` asks for names and gives a map. Keys and words are Kamal's
--- (2.12). Programs are run with their arguments as they are, no shell between; what they print is never shown.

local fail = require "native.fail"
local json = require "native.json"
local process = require "native.process"
local text = require "native.text"

local M = {}

local TIMEOUT = "300s"  -- a person may have to touch a key

--- @class AdapterCall
--- @field account? string
--- @field from? string
--- @field env fun(name: string): string?
--- @field environment table<string, string>  added to the programs' environment

local function failed(message) fail.raise("kamal.secrets", message) end

--- Runs a vendor's program. `ok` is false where it fails; a program that is not there is not installed.
local function run(call, argv, options)
  local ok, result = pcall(process.run, argv, { check = false, env = call.environment, timeout = TIMEOUT, reads = true,
    stdin = options and options.stdin })
  if not ok then
    if result.kind == "process.spawn" then return { ok = false, stdout = "", missing = true } end
    error(result, 0)
  end
  return { ok = result.code == 0, stdout = result.stdout }
end

local function must(call, argv, message)
  local result = run(call, argv)
  if not result.ok then failed(message) end
  return result.stdout
end

local function parse(bytes, what)
  local ok, value = pcall(json.decode, bytes, { source = what })
  if not ok then failed(("%s printed no JSON"):format(what)) end
  return value
end

local function need(call, argv, name)
  if not run(call, argv).ok then failed(name .. " is not installed") end
end

local function split(whole, separator)
  local parts = {}
  for part in (whole .. separator):gmatch("(.-)" .. separator) do parts[#parts + 1] = part end
  return parts
end

local function prefixed(names, from)
  local out = {}
  for index, name in ipairs(names) do out[index] = from and from .. "/" .. name or name end
  return out
end

local function without_prefix(whole, prefix)
  return whole:sub(1, #prefix) == prefix and whole:sub(#prefix + 1) or whole
end

--- Groups of values by key, in the order in which the keys came.
local function groups()
  local out = { keys = {}, of = {} }
  function out.add(key, value)
    if not out.of[key] then
      out.keys[#out.keys + 1], out.of[key] = key, {}
    end
    if value ~= nil then table.insert(out.of[key], value) end
  end
  return out
end

local function append(argv, ...)
  for _, word in ipairs { ... } do argv[#argv + 1] = word end
  return argv
end

local adapters = {}

-- 1Password

local onepassword = { account = true }

function onepassword.check(call) need(call, { "op", "--version" }, "1Password CLI") end

function onepassword.login(call)
  if run(call, { "op", "account", "get", "--account", call.account }).ok then return nil end
  local session = must(call, { "op", "signin", "--account", call.account, "--force", "--raw" },
    "Failed to login to 1Password")
  session = session:gsub("%s+$", "")
  return session ~= "" and session or nil
end

local function op_item(call, session, vault, item, fields)
  local argv = { "op", "item", "get", item, "--vault", vault, "--format", "json", "--account", call.account }
  -- Its session goes by the environment: arguments can be seen by all.
  if session then call.environment["OP_SESSION_" .. call.account] = session end
  if fields then
    local labels = {}
    for index, field in ipairs(fields) do labels[index] = "label=" .. field end
    append(argv, "--fields", table.concat(labels, ","))
  end
  return parse(must(call, argv, ("Could not read %sfrom %s in the %s 1Password vault"):format(
    fields and table.concat(fields, ", ") .. " " or "", item, vault)), "op")
end

local function op_fields(results, fields)
  for _, field in ipairs(fields) do
    if field.reference then
      local name = without_prefix(field.reference, "op://"):gsub("/password$", "")
      results[name] = field.value
    end
  end
end

function onepassword.fetch(call, names, session)
  local results = {}
  if #names == 0 then
    if not call.from then failed("Missing required option '--from'") end
    local vault, item = without_prefix(call.from, "op://"):match("^([^/]+)/([^/]+)")
    if not vault then failed("--from is VAULT/ITEM where no secrets are named") end
    op_fields(results, op_item(call, session, vault, item).fields or {})
    return results
  end
  local items = groups()
  for _, name in ipairs(prefixed(names, call.from)) do
    local parts = split(without_prefix(name, "op://"), "/")
    local vault, item = table.remove(parts, 1), table.remove(parts, 1)
    if not item then failed(("`%s` is no VAULT/ITEM/FIELD"):format(name)) end
    items.add(vault .. "\0" .. item, #parts > 0 and table.concat(parts, ".") or "password")
  end
  for _, key in ipairs(items.keys) do
    local vault, item = key:match("^(%Z*)%z(.*)$")
    local fields = op_item(call, session, vault, item, items.of[key])
    op_fields(results, #items.of[key] == 1 and fields.reference and { fields } or fields)
  end
  return results
end

-- LastPass

local lastpass = { account = true }

function lastpass.check(call) need(call, { "lpass", "--version" }, "LastPass CLI") end

function lastpass.login(call)
  local status = run(call, { "lpass", "status", "--color", "never" }).stdout:match("^%s*(.-)%s*$")
  if status ~= ("Logged in as %s."):format(call.account) then
    must(call, { "lpass", "login", call.account }, "Failed to login to LastPass")
  end
end

function lastpass.fetch(call, names)
  local wanted, results = prefixed(names, call.from), {}
  local printed = must(call, append(append({ "lpass", "show" }, unpack(wanted)), "--json"),
    ("Could not read %s from LastPass"):format(table.concat(wanted, ", ")))
  for _, item in ipairs(parse(printed, "lpass")) do results[item.fullname] = item.password end
  local missing = {}
  for _, name in ipairs(wanted) do
    if results[name] == nil then missing[#missing + 1] = name end
  end
  if #missing > 0 then failed(("Could not find %s in LastPass"):format(table.concat(missing, ", "))) end
  return results
end

-- Bitwarden

local bitwarden = { account = true }

function bitwarden.check(call) need(call, { "bw", "--version" }, "Bitwarden CLI") end

local function bw_status(call) return parse(run(call, { "bw", "status" }).stdout, "bw").status end

function bitwarden.login(call)
  local status = bw_status(call)
  if status == "unauthenticated" then
    run(call, { "bw", "login", call.account })
    status = bw_status(call)
  end
  if status == "locked" then
    local session = run(call, { "bw", "unlock", "--raw" }).stdout:gsub("%s+$", "")
    if session ~= "" then call.environment.BW_SESSION = session end
    status = bw_status(call)
  end
  if status ~= "unlocked" then failed("Failed to login to and unlock Bitwarden") end
  must(call, { "bw", "sync" }, "Failed to sync Bitwarden")
end

function bitwarden.fetch(call, names)
  local items, results = groups(), {}
  for _, name in ipairs(prefixed(names, call.from)) do
    local item, field = name:match("^([^/]*)/([^/]*)")
    items.add(item or name, field)
  end
  for _, name in ipairs(items.keys) do
    local printed = must(call, { "bw", "get", "item", name }, ("Could not read %s from Bitwarden"):format(name))
    local item = parse(printed, "bw")
    local fields, own = items.of[name], {}
    for _, field in ipairs(item.fields or {}) do own[field.name] = field.value end
    if #fields > 0 then
      for _, field in ipairs(fields) do
        if own[field] == nil then
          failed(("Could not find field %s in item %s in Bitwarden"):format(field, name))
        end
        results[name .. "/" .. field] = own[field]
      end
    elseif item.login and item.login.password then
      results[name] = item.login.password
    elseif next(own) then
      for field, value in pairs(own) do results[name .. "/" .. field] = value end
    else
      failed(("Item %s is not a login type item and no fields were specified"):format(name))
    end
  end
  return results
end

-- Bitwarden Secrets Manager

local bws = {}

function bws.check(call) need(call, { "bws", "--version" }, "Bitwarden Secrets Manager CLI") end

function bws.login(call)
  if not run(call, { "bws", "project", "list" }).ok then
    failed("Could not authenticate to Bitwarden Secrets Manager. Did you set a valid access token?")
  end
end

local function bws_list(call, project)
  local argv = { "bws", "secret", "list" }
  if project then argv[#argv + 1] = project end
  local results = {}
  for _, one in ipairs(parse(must(call, argv, "Could not read secrets from Bitwarden Secrets Manager"), "bws")) do
    results[one.key] = one.value
  end
  return results
end

function bws.fetch(call, names)
  local wanted, results = prefixed(names, call.from), {}
  if #wanted == 0 then failed("You must specify what to retrieve from Bitwarden Secrets Manager") end
  if #wanted == 1 and wanted[1] == "all" then return bws_list(call) end
  local project = #wanted == 1 and wanted[1]:match("^(.+)/all$")
  if project then return bws_list(call, project) end
  for _, uuid in ipairs(wanted) do
    local one = parse(must(call, { "bws", "secret", "get", uuid },
      ("Could not read %s from Bitwarden Secrets Manager"):format(uuid)), "bws")
    results[one.key] = one.value
  end
  return results
end

-- AWS Secrets Manager

local aws = {}

function aws.check(call) need(call, { "aws", "--version" }, "AWS CLI") end
function aws.login() end

local function aws_text(value) return type(value) == "string" and value or json.encode(value) end

function aws.fetch(call, names)
  local argv = append({ "aws", "secretsmanager", "batch-get-secret-value", "--secret-id-list" },
    unpack(prefixed(names, call.from)))
  if call.account then append(argv, "--profile", call.account) end
  append(argv, "--output", "json")
  local printed = must(call, argv, ("Could not read %s from AWS Secrets Manager"):format(table.concat(names, ", ")))
  local answer = parse(printed, "aws")
  if answer.Errors and #answer.Errors > 0 then
    local told = {}
    for index, one in ipairs(answer.Errors) do told[index] = ("%s: %s"):format(one.SecretId, one.Message) end
    failed(table.concat(told, " "))
  end
  local results = {}
  for _, one in ipairs(answer.SecretValues or {}) do
    local ok, inner = pcall(json.decode, one.SecretString)
    if ok and type(inner) == "table" and #inner == 0 then
      for key, value in pairs(inner) do results[("%s/%s"):format(one.Name, key)] = aws_text(value) end
    elseif ok then
      results[one.Name] = aws_text(inner)
    else
      results[one.Name] = one.SecretString
    end
  end
  return results
end

-- Doppler

local doppler = {}

function doppler.check(call) need(call, { "doppler", "--version" }, "Doppler CLI") end

function doppler.login(call)
  if run(call, { "doppler", "me", "--json" }).ok then return end
  must(call, { "doppler", "login", "-y" }, "Failed to login to Doppler")
end

function doppler.fetch(call, names)
  local wanted = prefixed(names, call.from)
  local argv = { "doppler", "secrets", "get" }
  for _, name in ipairs(wanted) do argv[#argv + 1] = name:match("([^/]*)$") end
  argv[#argv + 1] = "--json"
  if (call.env("DOPPLER_TOKEN") or ""):sub(1, 5) ~= "dp.st" then
    local project, config = (wanted[1] or ""):match("^([^/]+)/([^/]+)")
    if not project then failed("Missing project or config from '--from=project/config' option") end
    append(argv, "-p", project, "-c", config)
  end
  local results = {}
  local printed = must(call, argv, ("Could not read %s from Doppler"):format(table.concat(wanted, ", ")))
  for name, one in pairs(parse(printed, "doppler")) do results[name] = one.computed end
  return results
end

-- Google Secret Manager

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

-- Enpass

local enpass = {}

function enpass.check(call) need(call, { "enpass-cli", "version" }, "Enpass CLI") end
function enpass.login() end

function enpass.fetch(call, names)
  if not call.from then failed("Missing required option '--from'") end
  local titles, wanted = groups(), {}
  for _, name in ipairs(names) do
    titles.add(name:match("^(.+)/[^/]*$") or name)
    wanted[name] = true
  end
  local printed = must(call, append({ "enpass-cli", "-json", "-vault", call.from, "show" }, unpack(titles.keys)),
    ("Could not read %s from Enpass"):format(table.concat(names, ", ")))
  local results = {}
  for _, item in ipairs(parse(printed, "enpass-cli")) do
    if item.title and (item.password or "") ~= "" then
      local key = (item.label or "") ~= "" and item.title .. "/" .. item.label or item.title
      if wanted[item.title] or wanted[key] then
        if results[key] then failed(key .. " is present more than once") end
        results[key] = item.password
      end
    end
  end
  return results
end

-- Passbolt

local passbolt = {}

function passbolt.check(call) need(call, { "passbolt", "--version" }, "Passbolt CLI") end
function passbolt.login(call) must(call, { "passbolt", "verify" }, "Failed to login to Passbolt") end

local function quoted(word) return '"' .. word:gsub('[\\"]', "\\%0") .. '"' end

--- The ID of a folder by its path, each level asked for below the one before.
local function passbolt_folder(call, path)
  local parent
  for index, name in ipairs(split(path, "/")) do
    local filter = "Name == " .. quoted(name)
    if parent then filter = filter .. " && FolderParentID == " .. quoted(parent) end
    local found = parse(must(call, { "passbolt", "list", "folders", "--filter", filter, "--json" },
      "Could not read folders from Passbolt"), "passbolt")
    local chosen
    for _, folder in ipairs(found) do
      local above = folder.folder_parent_id or ""
      if folder.name == name and (index > 1 or above == "") then chosen = chosen or folder end
    end
    if not chosen then failed(("Could not find the following folders in Passbolt: %s"):format(path)) end
    parent = chosen.id
  end
  return parent
end

function passbolt.fetch(call, names)
  local wanted = prefixed(names, call.from)
  if #wanted == 0 then failed("No secrets given to fetch") end
  local filters, folders, seen = {}, {}, {}
  for _, name in ipairs(wanted) do
    local path, last = name:match("^(.+)/([^/]+)$")
    local filter = "Name == " .. quoted(last or name)
    if path then
      if not seen[path] then
        seen[path] = passbolt_folder(call, path)
        append(folders, "--folder", seen[path])
      end
      filter = ("(%s && FolderParentID == %s)"):format(filter, quoted(seen[path]))
    end
    filters[#filters + 1] = filter
  end
  local argv = append({ "passbolt", "list", "resources", "--filter", table.concat(filters, " || ") }, unpack(folders))
  append(argv, "--column", "name", "--column", "password", "--json")
  local results = {}
  local printed = must(call, argv, ("Could not read %s from Passbolt"):format(table.concat(wanted, ", ")))
  for _, item in ipairs(parse(printed, "passbolt")) do results[item.name] = item.password end
  local missing = {}
  for _, name in ipairs(wanted) do
    local last = name:match("([^/]+)$")
    if results[last] == nil then missing[#missing + 1] = last end
  end
  if #missing > 0 then
    failed(("Could not find the following secrets in Passbolt: %s"):format(table.concat(missing, ", ")))
  end
  return results
end

-- Kamal's own, for tests: names backwards.
local backwards = { account = true }
function backwards.check() end
function backwards.login() end
function backwards.fetch(call, names)
  local results = {}
  for _, name in ipairs(prefixed(names, call.from)) do
    results[name] = name:gsub("LPAREN", "("):gsub("RPAREN", ")"):reverse()
  end
  return results
end

adapters["1password"], adapters["one_password"] = onepassword, onepassword
adapters["lastpass"], adapters["last_pass"] = lastpass, lastpass
adapters["bitwarden"] = bitwarden
adapters["bitwarden-sm"], adapters["bitwarden_secrets_manager"] = bws, bws
adapters["aws_secrets_manager"] = aws
adapters["doppler"] = doppler
adapters["gcp"], adapters["gcp_secret_manager"] = gcp, gcp
adapters["enpass"] = enpass
adapters["passbolt"] = passbolt
adapters["test"] = backwards

--- Fetches secrets from a vendor.
--- Raises `kamal.secrets`, `usage` for an unknown adapter.
--- @async
--- @param name string
--- @param names string[]
--- @param call AdapterCall
--- @return table<string, string>
function M.fetch(name, names, call)
  local adapter = adapters[name]
  if not adapter then
    local known = {}
    for one in pairs(adapters) do known[#known + 1] = one end
    table.sort(known)
    fail.usage(("Unknown secrets adapter: %s"):format(name),
      { hint = text.nearest_hint(name, known), token = name })
  end
  if adapter.account and (call.account or "") == "" then failed("Missing required option '--account'") end
  call.environment = call.environment or {}
  adapter.check(call)
  local session = adapter.login(call)
  return adapter.fetch(call, names, session)
end

return M
