--- AWS Secrets Manager, by its program `aws` (kamal/adapters.lua).

local json = require "native.json"
local tools = require "kamal.adapters.tools"

local append, failed, must = tools.append, tools.failed, tools.must
local need, parse, prefixed = tools.need, tools.parse, tools.prefixed

--- @type SecretsAdapter
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
    else
      results[one.Name] = one.SecretString  -- a number as well: "1e5" is no 100000
    end
  end
  return results
end

return aws
