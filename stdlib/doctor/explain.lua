--- What a failure means: from an error's record (docs/errors.md) and what the program that failed has said, to cause
--- and fix. Rules are data, the first that fits counts; where looking further helps, a rule names the groups.

local fail = require "native.fail"

local M = {}

M.FINDINGS = {
  { id = "build.failed", severity = "error", title = "the build failed at: {at}", cause = "{message}",
    fix = "docker buildx build --progress=plain .    shows the step whole; mend it, then deploy again" },
  { id = "build.no_builder", severity = "error", title = "there is nothing to build with", cause = "{message}",
    fix = "install Docker with buildx here (docker-buildx-plugin), and start its engine" },
  { id = "registry.refused", severity = "error", title = "the registry refuses to give {image}", cause = "{message}",
    fix = "docker login REGISTRY -u USER    with what the inventory names; `deployrun recipes/doctor.lua` asks from "
      .. "every server" },
  { id = "image.missing", severity = "error", title = "the registry does not have what was to be shipped",
    cause = "{message}", fix = "push it first (docker push, or wait for CI), or name a version that is there" },
  { id = "failure.disk", severity = "error", title = "a disk is full", cause = "{message}",
    fix = "deployrun recipes/doctor.lua    says what fills it; --fix frees what is safe" },
  { id = "failure.port", severity = "error", title = "a port is taken", cause = "{message}",
    fix = "deployrun recipes/doctor.lua    says who has it" },
  { id = "app.locked", severity = "error", title = "the new version met a locked database when it started",
    cause = "it migrates in its entrypoint while the old version writes to the same SQLite file",
    fix = "take the migration out of the entrypoint and let `deploy.migrate` run it (docs/sqlite.md, "
      .. "recipes/sqlite_app.lua)" },
  { id = "app.tables_exist", severity = "error", title = "several workers made the tables at once",
    cause = "each worker runs the initialisation; the one that comes second fails",
    fix = "initialise in one step before the workers start (recipes/flask_gunicorn.lua), or `sqlite.once`" },
  { id = "app.pending", severity = "error", title = "the new version finds migrations pending",
    cause = "it was started before its migrations were run",
    fix = "let `deploy.migrate` run them first (docs/sqlite.md)" },
  { id = "app.setting", severity = "error", title = "the new version misses a setting: {setting}",
    cause = "its environment lacks what its code asks for",
    fix = "name it in the inventory: `env.clear`, or `env.secret` and its value in .deployrun/secrets" },
  { id = "app.port_in_use", severity = "error", title = "the app's own port is in use inside its container",
    cause = "two of its processes want the same port", fix = "start one server, or give each a port of its own" },
  { id = "app.architecture", severity = "error", title = "the image is for another processor",
    cause = "it was built for another architecture than the server's",
    fix = "docker buildx build --platform linux/amd64 …    (or linux/arm64: `uname -m` on the server)" },
  { id = "app.memory", severity = "error", title = "the new version was killed for using too much memory",
    cause = "it needs more than its limit, or than the server has", fix = "raise the limit, or make it use less" },
  { id = "app.ended", severity = "error", title = "the new version ends when it is started: exit code {code}",
    cause = "its last lines say why", fix = "docker run --rm -it IMAGE    here, with the same environment" },
  { id = "app.silent", severity = "error", title = "the new version does not answer as ready in time",
    cause = "nothing (or another status) came from the port and path that `health` names",
    fix = "does it listen on that port, on 0.0.0.0? is `health.path` right? does it need a longer `health.deadline`?" },
  { id = "migration.failed", severity = "error", title = "the migration failed with exit code {code}",
    cause = "its last lines say why; {database}",
    fix = "mend the migration, then deploy again" },
  { id = "migration.slow", severity = "error", title = "the migration was not done in time", cause = "{message}",
    fix = "give it longer (`timeout` of deploy.migrate), or make it in smaller steps" },
  { id = "migration.space", severity = "error", title = "no room for the snapshot before the migration",
    cause = "{message}", fix = "deployrun recipes/doctor.lua    says what fills the disk" },
  { id = "database.busy", severity = "error", title = "the database is locked by process {holder_pid}",
    cause = "{holder_command} holds its write lock longer than we wait",
    fix = "sudo kill {holder_pid}    on the server, or restart its container" },
  { id = "certificate.refused", severity = "error", title = "a certificate does not fit", cause = "{message}",
    fix = "deployrun recipes/doctor.lua    shakes hands with each server and says what is wrong" },
  { id = "failure.ssh", severity = "error", title = "a server cannot be reached", cause = "{message}",
    fix = "{hint}" },
  { id = "failure.engine", severity = "error", title = "no Docker engine answers", cause = "{message}",
    fix = "{hint}" },
  { id = "failure.other", severity = "error", title = "the run failed: {kind}", cause = "{message}", fix = "{hint}" },
}

--- @class ExplainRule
--- @field kind string     of the error or of one of its causes, a pattern
--- @field says? string[]  one of them is in what was said (lower case, plain words)
--- @field id string
--- @field look? string[]  groups that tell more
local APP = "^app%.[eu][xn]"  -- exited, unready

M.RULES = {
  { kind = "^build%.missing$", id = "build.no_builder" },
  { kind = "^build%.", id = "build.failed", look = { "disk" } },
  { kind = "^docker%.", says = { "no space left", "disk quota" }, id = "failure.disk", look = { "disk" } },
  { kind = "^sqlite%.full$", id = "failure.disk", look = { "disk" } },
  { kind = "^migrate%.space$", id = "migration.space", look = { "disk" } },
  { kind = ".", says = { "no space left on device" }, id = "failure.disk", look = { "disk" } },
  { kind = "^docker%.", says = { "port is already allocated", "address already in use" }, id = "failure.port",
    look = { "proxy" } },
  { kind = "^compose%.command$", says = { "port is already allocated", "address already in use" }, id = "failure.port",
    look = { "proxy" } },
  { kind = "^docker%.auth$", id = "registry.refused", look = { "registry" } },
  { kind = "^docker%.pull$", says = { "unauthorized", "denied", "no basic auth" }, id = "registry.refused",
    look = { "registry" } },
  { kind = "^docker%.not_found$", says = { "no such container", "no such volume", "no such exec", "no such network",
    "network " }, id = "failure.other" },
  { kind = "^docker%.not_found$", id = "image.missing" },
  { kind = "^migrate%.failed$", id = "migration.failed" },
  { kind = "^kamal%.migrate$", id = "migration.failed" },
  { kind = "^migrate%.timeout$", id = "migration.slow" },
  { kind = "^sqlite%.busy$", id = "database.busy", look = { "databases" } },
  { kind = APP, says = { "database is locked", "busyexception" }, id = "app.locked" },
  { kind = APP, says = { "already exists" }, id = "app.tables_exist" },
  { kind = APP, says = { "no such table", "pendingmigration", "migrations are pending" }, id = "app.pending" },
  { kind = APP, says = { "exec format error" }, id = "app.architecture" },
  { kind = APP, says = { "eaddrinuse", "address already in use", "address in use" }, id = "app.port_in_use" },
  { kind = APP, says = { "keyerror", "is not set", "missing environment", "missing secret", "is required" },
    id = "app.setting" },
  { kind = "^app%.exited$", id = "app.ended" },
  { kind = "^app%.unready$", id = "app.silent", look = { "containers" } },
  { kind = "^http%.tls$", id = "certificate.refused", look = { "certificates" } },
  { kind = "^docker%.connect$", id = "failure.engine", look = { "engine" } },
  { kind = "^ssh%.", id = "failure.ssh", look = { "reach" } },
}

local function lines(value)
  if type(value) == "table" then return table.concat(value, "\n") end
  return type(value) == "string" and value or ""
end

--- All that an error and its causes have to say, and what they carry.
local function gather(err)
  local said, facts, evidence = {}, {}, {}
  local one, depth = err, 0
  while type(one) == "table" and depth < 16 do
    said[#said + 1] = table.concat({ one.message or "", lines(one.logs), one.stderr or "", lines(one.history) }, "\n")
    for _, key in ipairs { "code", "at", "holder_pid", "holder_command", "hint", "oom_killed", "kept" } do
      if facts[key] == nil then facts[key] = one[key] end
    end
    if #evidence == 0 or one.message ~= err.message then evidence[#evidence + 1] = one.message end
    for line in lines(one.history):gmatch("[^\n]+") do evidence[#evidence + 1] = "probe: " .. line end
    local kept = {}
    for line in lines(one.logs):gmatch("[^\n]+") do kept[#kept + 1] = "| " .. line end
    for index = math.max(1, #kept - 9), #kept do evidence[#evidence + 1] = kept[index] end
    one, depth = one.cause, depth + 1
  end
  facts.evidence = evidence
  return table.concat(said, "\n"), facts
end

local function has_kind(err, pattern)
  local depth = 0
  while type(err) == "table" and depth < 16 do
    if err.kind and err.kind:match(pattern) then return true end
    err, depth = err.cause, depth + 1
  end
  return false
end

local function fits(rule, err, said)
  if not has_kind(err, rule.kind) then return false end
  if not rule.says then return true end
  for _, words in ipairs(rule.says) do
    if said:find(words, 1, true) then return true end
  end
  return false
end

--- What setting an app complains about: `KeyError: 'SHOP_TOKEN'`.
local function setting(said)
  return said:match("[Kk]ey ?[Ee]rror[^%w]*([%u_][%u%d_]+)") or said:match("([%u_][%u%d_]+) is not set")
    or said:match("([%u_][%u%d_]+) is required") or "the last lines name it"
end

--- What an error means: a finding's id and facts, and which groups tell more.
--- @param err table
--- @return string id
--- @return table facts
--- @return string[] look
function M.of(err)
  err = fail.normal(err)
  local said, facts = gather(err)
  facts.message, facts.kind, facts.hint = err.message, err.kind, facts.hint or "the cause says what to mend"
  facts.image = err.message:match("%S+/%S+:%S+") or "the image"
  facts.database = facts.kept and "what it has done to the database stays" or "the database is what it was before"
  facts.at = facts.at or "a step that it does not name"
  if facts.oom_killed == true then return "app.memory", facts, { "containers" } end
  local lower = said:lower()
  for _, rule in ipairs(M.RULES) do
    if fits(rule, err, lower) then
      if rule.id == "app.setting" then facts.setting = setting(said) end
      return rule.id, facts, rule.look or {}
    end
  end
  return "failure.other", facts, {}
end

return M
