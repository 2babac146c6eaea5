--- Reaching a server: SSH refused, keys, host keys, names. What it says follows from the error of the connection.

local patient_module

local M = { needs = "none" }

M.FINDINGS = {
  { id = "ssh.refused", severity = "error", title = "no SSH server answers at {address}:{port}", cause = "{why}",
    fix = "on the server's console: `systemctl start ssh`, and let port {port} through its firewall; "
      .. "then: {typed}" },
  { id = "ssh.no_name", severity = "error", title = "the name {address} has no address",
    cause = "DNS knows no such name, or this machine's resolver does not answer",
    fix = "getent hosts {address}    then mend the record, or the address in {file}" },
  { id = "ssh.key_refused", severity = "error", title = "{address} accepts none of our keys for the user {user}",
    cause = "the public key is not in ~{user}/.ssh/authorized_keys there, or it is another user's",
    fix = "ssh-copy-id {key}{port_option}{user}@{address}    (whoever can log in), or name the right key in {file}" },
  { id = "ssh.unknown_host_key", severity = "error", title = "nobody vouches for the host key of {address}",
    cause = "{known} does not have this server yet",
    fix = "{trust}    and compare the fingerprint with the one that the server's console shows" },
  { id = "ssh.changed_host_key", severity = "error", title = "{address} shows another host key than the known one",
    cause = "the server was installed anew, or somebody stands in between: find out which before you trust it",
    fix = "ssh-keygen -R {known_name}{file_option}    once the server's console shows that fingerprint, "
      .. "then {trust}" },
  { id = "ssh.revoked_host_key", severity = "error", title = "{address} shows a host key that is revoked",
    cause = "{known} says @revoked: whoever has that key can stand in for the server",
    fix = "on the server's console: remove /etc/ssh/ssh_host_*, then `ssh-keygen -A` and `systemctl restart ssh`; "
      .. "then {trust}    and compare the fingerprint. Never trust the revoked key again" },
  { id = "ssh.trouble", severity = "error", title = "no connection to {address}", cause = "{why}",
    fix = "{hint}" },
}

local BY_KIND = {
  ["ssh.connect"] = "ssh.refused", ["ssh.resolve"] = "ssh.no_name", ["ssh.auth"] = "ssh.key_refused",
  ["ssh.host_unknown"] = "ssh.unknown_host_key", ["ssh.host_changed"] = "ssh.changed_host_key",
  ["ssh.host_revoked"] = "ssh.revoked_host_key",
}

local function why_of(message)
  if message:find("refused", 1, true) then
    return "nothing listens there: the SSH server is down, or on another port"
  end
  if message:find("timed out", 1, true) or message:find("not finished", 1, true) then
    return "packets vanish: a firewall drops them, the address is wrong, or the server is off"
  end
  return message
end

--- The finding for a failed connection.
--- @param host Host
--- @param err table
--- @param say fun(id: string, facts: table)
function M.say(host, err, say)
  patient_module = patient_module or require "doctor.patient"
  local inner = err
  while not BY_KIND[inner.kind] and inner.cause do inner = inner.cause end
  local spec = host._spec or { address = host.name }
  local known = type(spec.known_hosts) == "table" and spec.known_hosts[1] or spec.known_hosts or err.file
  local port = spec.port or 22
  local facts = {
    address = spec.address, port = port, user = spec.user or os.getenv "USER" or "?", file = "the inventory",
    known = known or "~/.ssh/known_hosts", why = why_of(inner.message), hint = inner.hint or "see the cause",
    known_name = port ~= 22 and ("'[%s]:%d'"):format(spec.address, port) or spec.address,
    file_option = known and " -f " .. known or "", port_option = port ~= 22 and ("-p %d "):format(port) or "",
    key = spec.keys and spec.keys[1] and ("-i %s.pub "):format(spec.keys[1]) or "",
    trust = ("deployrun host trust %s%s%s"):format(spec.address, port ~= 22 and " --port " .. port or "",
      known and " --file " .. known or ""),
    typed = patient_module.typed(host, "true"),
  }
  local evidence = { inner.message }
  for _, name in ipairs { "fingerprint", "known", "file", "line", "methods" } do
    if type(inner[name]) ~= "table" and inner[name] then
      evidence[#evidence + 1] = ("%s: %s"):format(name, tostring(inner[name]))
    end
  end
  for _, name in ipairs { "tried", "skipped" } do
    for _, one in ipairs(type(inner[name]) == "table" and inner[name] or {}) do
      evidence[#evidence + 1] = ("%s: %s"):format(name, tostring(one))
    end
  end
  facts.evidence = evidence
  local silent = inner.kind == "timeout"
  say(BY_KIND[inner.kind] or (silent and "ssh.refused") or "ssh.trouble", facts)
end

return M
