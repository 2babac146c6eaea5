--- Versions with known defects, as data: what is installed is compared, nothing is guessed.

local M = {}

M.FINDINGS = {
  { id = "version.defect", severity = "warning", title = "{program} {version} has a known defect", cause = "{what}",
    fix = "upgrade {program} to {fixed} or later{where}" },
}

--- `from` and `before` bound the versions that have it; `when` says in which use it matters.
--- @class Defect
--- @field program "compose"|"engine"|"sqlite"
--- @field from string
--- @field before string
--- @field fixed string
--- @field what string
--- @field when? fun(patient: Patient): boolean
M.DEFECTS = {
  { program = "compose", from = "2.34.0", before = "2.40.2", fixed = "2.40.2",
    what = "CVE-2025-62725: a Compose file that includes a remote artifact writes files outside of its folder, also "
      .. "with `config` and `ps`" },
  { program = "engine", from = "19.3.0", before = "23.0.15", fixed = "23.0.15",
    what = "CVE-2024-41110: an authorization plugin is passed by a request with an empty body",
    when = function(patient)
      local info = patient:info()
      local plugins = (info.Plugins or {}).Authorization
      return type(plugins) == "table" and #plugins > 0
    end },
}

-- sqlite.org/wal.html, The WAL-Reset Bug: mended in 3.51.3, and in 3.50.7 and 3.44.6 for those who stay there.
for _, range in ipairs { { "3.7.0", "3.44.6" }, { "3.45.0", "3.50.7" }, { "3.51.0", "3.51.3" } } do
  M.DEFECTS[#M.DEFECTS + 1] = { program = "sqlite", from = range[1], before = range[2], fixed = "3.51.3",
    what = "a checkpoint that resets the write-ahead log while another connection writes can damage the database "
      .. "(WAL-reset bug)" }
end

--- @param version string
--- @return integer[]
local function numbers(version)
  local out = {}
  for number in version:gmatch("%d+") do out[#out + 1] = tonumber(number) end
  return out
end

--- Whether `a` is an earlier version than `b`.
--- @param a string
--- @param b string
--- @return boolean
function M.earlier(a, b)
  local left, right = numbers(a), numbers(b)
  for index = 1, 3 do
    local one, other = left[index] or 0, right[index] or 0
    if one ~= other then return one < other end
  end
  return false
end

--- The defects of a program's version.
--- @param program string
--- @param version string
--- @return Defect[]
function M.of(program, version)
  local out = {}
  for _, defect in ipairs(M.DEFECTS) do
    if defect.program == program and not M.earlier(version, defect.from) and M.earlier(version, defect.before) then
      out[#out + 1] = defect
    end
  end
  return out
end

-- The first version, which has none of these, takes seconds to say so.
local COMPOSE = [[docker compose version --short 2>/dev/null || true]]

--- What tells SQLite's version inside an app's container: whichever of them is there.
local SQLITE = {
  { "sqlite3", "--version" },
  { "python3", "-c", "import sqlite3; print(sqlite3.sqlite_version)" },
  { "ruby", "-rsqlite3", "-e", "puts SQLite3::SQLITE_VERSION" },
  { "php", "-r", "echo SQLite3::version()['versionString'];" },
}

local function sqlite_of(patient, container)
  for _, argv in ipairs(SQLITE) do
    local ok, result = pcall(patient.host.docker.exec, patient.host.docker, container.id, argv, { reads = true })
    local version = ok and result.code == 0 and result.stdout:match("(3%.%d+%.%d+)")
    if version then return version end
  end
end

local function tell(patient, program, shown, version, where, say)
  for _, defect in ipairs(M.of(program, version)) do
    if not defect.when or defect.when(patient) then
      say("version.defect", { program = shown, version = version, what = defect.what, fixed = defect.fixed,
        where = where })
    end
  end
end

--- @param patient Patient
--- @param say fun(id: string, facts: table)
function M.on_host(patient, say)
  local compose = patient:output(COMPOSE):match("%d+%.%d+%.%d+")
  if compose then tell(patient, "compose", "Docker Compose", compose, " on the server", say) end
  local engine = (patient.host.docker:version().Version or ""):match("%d+%.%d+%.%d+")
  if engine then tell(patient, "engine", "Docker", engine, " on the server", say) end
  if #(patient.options.databases or {}) == 0 then return end
  for _, one in ipairs(patient:serving()) do
    local version = one.container and one.container.running and sqlite_of(patient, one.container)
    if version then tell(patient, "sqlite", "SQLite", version, " in the image of " .. one.container.name, say) end
  end
end

return M
