--- The four health endpoints in one call: what follows from their answers.

local test = require "test"
local vitals = require "deploy.app.vitals"

local function verdict(failing)
  local seen = {}
  for _, endpoint in ipairs(vitals.ENDPOINTS) do seen[endpoint.name] = { ok = true } end
  for _, name in ipairs(failing) do seen[name].ok = false end
  return vitals.verdict(seen)
end

test.it("restarts what is not alive, withholds traffic from what is not ready, and says what is degraded", function()
  test.equal(verdict {}, "well")
  test.equal(verdict { "health" }, "degraded")
  test.equal(verdict { "ready", "health" }, "not ready")
  test.equal(verdict { "live", "ready", "health" }, "restart")
  test.equal(verdict { "process", "live", "ready", "health" }, "restart")
end)

test.it("ships, asks the four endpoints and heals, in one recipe", function()
  local board = test.rehearse { recipe = "recipes/flask_gunicorn.lua" }
  test.equal(board:run("deploy", { version = "v1" }).state, "done")
  local result = board:run("heal")
  test.equal(result.state, "done")
  test.equal(result:commands("10.0.0.5"), {})
end)
