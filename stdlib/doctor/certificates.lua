--- Certificates, by a handshake with each server, and the names they are for: missing, wrong, ending soon, DNS that
--- points elsewhere.

local fail = require "native.fail"
local http = require "native.http"
local process = require "native.process"
local task = require "native.task"

local M = { needs = "none" }

local DAYS = 14

M.FINDINGS = {
  { id = "certificate.missing", severity = "error", title = "{host} has no valid certificate for {name}",
    cause = "{message}",
    fix = "{mend}" },
  { id = "certificate.expiring", severity = "warning", title = "the certificate for {name} ends in {days} days",
    cause = "it was to be renewed by now: the authority could not reach this name on port 80, or nothing renews it",
    fix = "{mend}" },
  { id = "certificate.expired", severity = "error", title = "the certificate for {name} has ended", cause = "{message}",
    fix = "{mend}" },
  { id = "dns.missing", severity = "error", title = "the name {name} has no address",
    cause = "no A or AAAA record, or it is not known everywhere yet",
    fix = "add a record for {name} that points to {address}" },
  { id = "dns.elsewhere", severity = "warning", title = "{name} points to {found}, not to {address}",
    cause = "the record is an old one, or a load balancer or CDN stands in front (then all is well)",
    fix = "let the record for {name} point to {address}" },
}

--- The names that traffic comes to, each once; `*.example.com` is none that can be asked for.
local function names_of(doctor, with_tls)
  local out, seen = {}, {}
  for _, role in ipairs(doctor.app.config.roles) do
    local route = role.route
    for _, name in ipairs(route and (route.tls or not with_tls) and route.hosts or {}) do
      if not seen[name] and not name:find("*", 1, true) then out[#out + 1] = name end
      seen[name] = true
    end
  end
  return out
end

--- What must have a certificate: `{ name, port, days, ca_file }`; those of the app's proxy and those that were named.
local function wanted(doctor)
  local out = {}
  for _, name in ipairs(names_of(doctor, true)) do
    out[#out + 1] = { name = name, port = doctor.app.config.proxy.https_port or 443 }
  end
  for _, one in ipairs(doctor.options.certificates or {}) do out[#out + 1] = one end
  return out
end

local function mend_of(patient)
  return ("%s    says why the authority gave none"):format(patient:typed("docker logs --tail 50 "
    .. patient.app.proxy.container))
end

--- Whether a failed handshake says something of the certificate: somebody answered, or said that nobody listens.
--- @param err table
--- @return boolean
function M.is_told(err)
  return err.kind == "http.tls" or err.kind == "http.connect" and err.message:find("refused", 1, true) ~= nil
end

local function handshake(patient, one, say)
  local address, port = patient.host._spec and patient.host._spec.address or "127.0.0.1", one.port or 443
  local days = one.days or DAYS
  local facts = { name = one.name, host = patient.host.name, mend = mend_of(patient) }
  local ok, reply = pcall(http.probe, ("https://%s:%d/"):format(one.name, port),
    { status = "100-599", tls_days = days }, { timeout = "10s", connect_to = ("%s:%d"):format(address, port),
      ca_file = one.ca_file })
  if ok then
    facts.days = reply.tls_days and math.floor(reply.tls_days) or "?"
    if not reply.ok and reply.tls_days then
      facts.evidence = { reply.reason }
      say("certificate.expiring", facts)
    end
    return
  end
  if task.cancellation() then error(reply, 0) end
  local err = fail.normal(reply)
  -- Behind a jump host this machine has no way to the port: nothing was seen then, good or bad.
  if not M.is_told(err) then error(err, 0) end
  facts.message, facts.evidence = err.message, { err.message }
  local ended = err.message:find("expired", 1, true) ~= nil
  say(ended and "certificate.expired" or "certificate.missing", facts)
end

--- @param patient Patient
--- @param say fun(id: string, facts: table)
function M.on_host(patient, say)
  if #patient.app:proxied(patient.host) == 0 then return end
  for _, one in ipairs(wanted(patient.doctor)) do handshake(patient, one, say) end
end

--- The addresses of a name as this machine resolves it; nil where it has none.
local function addresses(name)
  local result = process.run({ "getent", "ahosts", name }, { check = false, timeout = "10s", reads = true })
  local out, seen = {}, {}
  for address in result.stdout:gmatch("(%S+)%s+STREAM") do
    if not seen[address] then out[#out + 1] = address end
    seen[address] = true
  end
  return result.code == 0 and #out > 0 and out or nil, seen
end

--- The servers' own addresses.
local function ours(doctor)
  local out, first = {}, nil
  for _, host in ipairs(doctor.app.hosts) do
    if host._spec and #doctor.app:proxied(host) > 0 then
      first = first or host._spec.address
      for address in pairs(select(2, addresses(host._spec.address))) do out[address] = true end
      out[host._spec.address] = true
    end
  end
  return out, first
end

--- @param doctor Doctor
--- @param say fun(id: string, facts: table)
function M.once(doctor, say)
  local names = names_of(doctor)
  if #names == 0 then return end
  local here, first = ours(doctor)
  for _, name in ipairs(names) do
    local found = addresses(name)
    local facts = { name = name, address = first or "the server", found = found and table.concat(found, ", ") }
    if not found then
      say("dns.missing", facts)
    else
      local points_here = false
      for _, address in ipairs(found) do points_here = points_here or here[address] end
      if not points_here then
        facts.evidence = { "getent ahosts " .. name .. ": " .. facts.found }
        say("dns.elsewhere", facts)
      end
    end
  end
end

return M
