--- Vendors of secrets, each by its own program: `fetch` asks for names and gives a map. Keys and words are Kamal's
--- (2.12). Each vendor is a file in adapters/.

local fail = require "native.fail"
local text = require "native.text"
local tools = require "kamal.adapters.tools"

local M = {}

--- @class AdapterCall
--- @field account? string
--- @field from? string
--- @field env fun(name: string): string?
--- @field environment table<string, string>  added to the programs' environment

--- @class SecretsAdapter
--- @field account? boolean                 `--account` must be there
--- @field check fun(call: AdapterCall)     raises where its program is not installed
--- @field login fun(call: AdapterCall): string?  a session, where the program keeps none itself
--- @field fetch fun(call: AdapterCall, names: string[], session?: string): table<string, string>

local FILES = {
  ["1password"] = "onepassword", one_password = "onepassword", lastpass = "lastpass", last_pass = "lastpass",
  bitwarden = "bitwarden", ["bitwarden-sm"] = "bitwarden_sm", bitwarden_secrets_manager = "bitwarden_sm",
  aws_secrets_manager = "aws", doppler = "doppler", gcp = "gcp", gcp_secret_manager = "gcp", enpass = "enpass",
  passbolt = "passbolt", test = "backwards",
}

--- Fetches secrets from a vendor.
--- Raises `kamal.secrets`, `usage` for an unknown adapter.
--- @async
--- @param name string
--- @param names string[]
--- @param call AdapterCall
--- @return table<string, string>
function M.fetch(name, names, call)
  local file = FILES[name]
  if not file then
    local known = {}
    for one in pairs(FILES) do known[#known + 1] = one end
    table.sort(known)
    fail.usage(("Unknown secrets adapter: %s"):format(name),
      { hint = text.nearest_hint(name, known), token = name })
  end
  local adapter = require("kamal.adapters." .. file)  --[[@as SecretsAdapter]]
  if adapter.account and (call.account or "") == "" then tools.failed("Missing required option '--account'") end
  call.environment = call.environment or {}
  adapter.check(call)
  local session = adapter.login(call)
  return adapter.fetch(call, names, session)
end

return M
