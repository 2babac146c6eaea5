--- Background jobs: a role without proxy that does not run, or a check of the app's own that says so.

local containers = require "doctor.containers"

local M = {}

M.FINDINGS = {
  { id = "jobs.stopped", severity = "error", title = "nothing of the role {role} runs: its jobs wait",
    cause = "{why}", fix = "{mend}" },
  { id = "jobs.stuck", severity = "error", title = "the app says that its jobs are not run",
    cause = "`{command}` in {name} ended with exit code {code}", fix = "{logs}" },
}

local function check_role(patient, one, say)
  if one.role.proxied then return end
  local container = one.container
  if not container then
    return say("jobs.stopped", { role = one.role.name,
      why = "no container of it is there: it was never shipped, or was removed",
      mend = ("deployrun %s deploy"):format(patient.doctor.recipe) })
  end
  if containers.state(patient, container, say) or container.running then return end
  if one.role.one_shot and container.exit_code == 0 then return end  -- it has done its work
  local facts = containers._facts_of(patient, container)
  facts.role, facts.mend = one.role.name, facts.start
  facts.why = ("%s ended with exit code %s"):format(container.name, facts.code)
  say("jobs.stopped", facts)
end

local function check_command(patient, declared, say)
  for _, one in ipairs(patient:serving()) do
    local wanted = not declared.role or declared.role == one.role.name
    if wanted and one.container and one.container.running then
      local result = patient.host.docker:exec(one.container.id, declared.command, { reads = true })
      if result.code ~= 0 then
        local facts = containers._facts_of(patient, one.container)
        facts.command, facts.code = table.concat(declared.command, " "), result.code
        facts.evidence = { result.stdout .. result.stderr }
        say("jobs.stuck", facts)
      end
      return
    end
  end
end

--- @param patient Patient
--- @param say fun(id: string, facts: table)
function M.on_host(patient, say)
  for _, one in ipairs(patient:serving()) do check_role(patient, one, say) end
  for _, declared in ipairs(patient.options.jobs or {}) do
    if declared.command then check_command(patient, declared, say) end
  end
end

return M
