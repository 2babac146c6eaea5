--- `deployrun host trust HOST …`: shows the keys of a host and writes them down, once somebody has said that they are
--- the right ones. Never by itself, and never over a key that is known already.

local console = require "native.console"
local fail = require "native.fail"
local outcome = require "deploy.outcome"
local report = require "native.report"
local ssh = require "native.ssh"

local M = {}

local WORDS = { unknown = "new", known = "known", changed = "CHANGED", other_type = "new", revoked = "REVOKED" }

--- What there is to say to a scan: the keys that are new, or the reason why none may be written down.
--- @param scanned table  as `ssh.scan` gives it
--- @param host string    as it was typed
--- @return SshScannedKey[] new
function M.new_keys(scanned, host)
  local new, known, contradiction = {}, false, nil
  for _, key in ipairs(scanned.keys) do
    if key.verdict == "revoked" then
      fail.raise("ssh.host_revoked", ("%s shows a revoked key: %s %s, %s"):format(scanned.name, key.type,
        key.fingerprint, key.place), { host = host, hint = "whoever answers there holds a key that was withdrawn" })
    end
    if key.verdict == "known" then known = true end
    if key.verdict == "unknown" or key.verdict == "other_type" then new[#new + 1] = key end
    if key.verdict == "changed" or (key.verdict == "other_type" and not contradiction) then contradiction = key end
  end
  -- Another type beside one that is known is news; without it, or of the same type, it is somebody else's key.
  if contradiction and (contradiction.verdict == "changed" or not known) then
    fail.raise("ssh.host_changed", ("%s is known by another key than %s %s: %s"):format(scanned.name,
      contradiction.type, contradiction.fingerprint, contradiction.place), { host = host,
      hint = ("somebody may be in between; if the host was set up anew: ssh-keygen -R '%s' -f '%s', then again")
        :format(scanned.name, contradiction.place:match("^(.*):%d+$") or "known_hosts") })
  end
  return new
end

--- The keys among them that these fingerprints speak of.
--- @param keys SshScannedKey[]
--- @param fingerprints string[]
--- @return SshScannedKey[]
function M.with_fingerprint(keys, fingerprints)
  local out = {}
  for _, key in ipairs(keys) do
    for _, wanted in ipairs(fingerprints) do
      if key.fingerprint == wanted then out[#out + 1] = key end
    end
  end
  return out
end

local function show(scanned)
  report.text(("%s (%s, %s) shows:"):format(scanned.name, scanned.address, scanned.server))
  for _, key in ipairs(scanned.keys) do
    report.text(("  %-20s %s  %s%s"):format(key.type, key.fingerprint, WORDS[key.verdict],
      key.place ~= "" and key.verdict == "known" and " (" .. key.place .. ")" or ""))
  end
end

--- Which keys somebody says are right; none where nobody does.
local function told(request, scanned, new, host)
  if #request.fingerprints > 0 then
    local right = M.with_fingerprint(scanned.keys, request.fingerprints)
    if #right == 0 then
      fail.raise("ssh.host_unknown", ("%s shows no key with the fingerprint %s"):format(scanned.name,
        table.concat(request.fingerprints, " or ")), { host = host,
        hint = "somebody may be in between, or the fingerprint is of another host" })
    end
    return M.with_fingerprint(new, request.fingerprints)
  end
  if request.yes then return new end
  if not request.terminal then
    fail.usage(("%s is not trusted: nobody is here to say so"):format(scanned.name),
      { host = host, hint = "compare the fingerprints with the host's, then --fingerprint SHA256:…, or --yes" })
  end
  local typed = console.open { terminal = true }
  local ok, answer = pcall(typed.line, typed, "Are these the host's own keys? yes, no, or a fingerprint to compare: ")
  typed:close()
  if not ok then error(answer, 0) end
  answer = (answer or ""):match("^%s*(.-)%s*$")
  if answer == "yes" then return new end
  if answer:match("^SHA256:") then return M.with_fingerprint(new, { answer }) end
  return {}
end

local function trust(request, host)
  local scanned = ssh.scan(host, { known_hosts = request.file, jump = request.jump, ssh_config = request.config,
    port = request.port })
  show(scanned)
  report.emit { type = "host.keys", host = host, name = scanned.name, address = scanned.address, keys = scanned.keys }
  local new = M.new_keys(scanned, host)
  local file = scanned.files[1]
  if not file then fail.usage("no known_hosts file to write to", { hint = "name one with --file" }) end
  if #new == 0 and #request.fingerprints == 0 then
    report.text "all of them are known already"
    return true
  end
  local right = told(request, scanned, new, host)
  for _, key in ipairs(right) do
    ssh.pin(file, scanned.name, key)
    report.text(("written to %s: %s %s"):format(file, key.type, key.fingerprint))
    report.emit { type = "host.trusted", host = host, name = scanned.name, file = file, key_type = key.type,
      fingerprint = key.fingerprint }
  end
  if #right == 0 and #new > 0 and #request.fingerprints == 0 then
    report.text "nothing was written down"
    return false
  end
  return true
end

--- What the command line says.
local function wishes(request)
  local given = request.options
  local port = given.port and tonumber(given.port)
  if given.port and not (port and port >= 1 and port <= 65535 and port % 1 == 0) then
    fail.usage(("--port %s: expected 1 to 65535"):format(given.port))
  end
  local fingerprints = {}
  for one in (given.fingerprint or ""):gmatch("[^,%s]+") do
    if not one:match("^SHA256:") then
      fail.usage(("--fingerprint %s: expected SHA256:…"):format(one),
        { hint = "on the host: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" })
    end
    fingerprints[#fingerprints + 1] = one
  end
  local config = given["ssh-config"]
  if config == "none" then config = false end
  return { file = given.file, jump = given.jump, port = port, config = config, yes = given.yes ~= nil,
    fingerprints = fingerprints, terminal = request.terminal }
end

--- @async
--- @param request { words: string[], options: table<string, string>, terminal: boolean }
--- @return integer exit_code
function M.main(request)
  local code = 0
  local function failed(failure)
    failure = fail.normal(failure)
    report.emit { type = "error", error = failure }
    code = math.max(code, outcome.exit_code { state = "failed_undone", error = failure })
  end
  local ok, wanted = pcall(wishes, request)
  if not ok then
    failed(wanted)
    return code
  end
  for _, host in ipairs(request.words) do
    local done, trusted = pcall(trust, wanted, host)
    if not done then
      failed(trusted)
    elseif not trusted then
      code = math.max(code, 4)
    end
  end
  return code
end

return M
