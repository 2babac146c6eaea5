local test = require "test"
local trust = require "cli.host_trust"

local function key(kind, verdict, place)
  return { type = kind, fingerprint = "SHA256:" .. kind, blob = "", verdict = verdict, place = place or "" }
end

local function types(keys)
  local out = {}
  for index, one in ipairs(keys) do out[index] = one.type end
  return table.concat(out, " ")
end

local function scan(...) return { name = "[web]:2222", keys = { ... } } end

test.it("finds what is new", function()
  test.equal(types(trust.new_keys(scan(key("ed", "unknown"), key("rsa", "unknown")), "web")), "ed rsa")
  test.equal(types(trust.new_keys(scan(key("ed", "known", "f:1")), "web")), "")
  test.equal(types(trust.new_keys(scan(key("ed", "known", "f:1"), key("rsa", "other_type", "f:1")), "web")), "rsa")
end)

test.it("never writes over what is known", function()
  local changed = test.raises("ssh.host_changed", function()
    trust.new_keys(scan(key("ed", "changed", "/etc/known:3"), key("rsa", "known", "f:1")), "web")
  end)
  test.contains(changed.hint, "ssh-keygen -R '[web]:2222' -f '/etc/known'")
  test.raises("ssh.host_changed", function() trust.new_keys(scan(key("rsa", "other_type", "f:1")), "web") end)
  test.raises("ssh.host_revoked", function()
    trust.new_keys(scan(key("ed", "known", "f:1"), key("rsa", "revoked", "f:2")), "web")
  end)
end)

test.it("takes fingerprints by their whole", function()
  local keys = { key("ed", "unknown"), key("rsa", "unknown") }
  test.equal(types(trust.with_fingerprint(keys, { "SHA256:rsa" })), "rsa")
  test.equal(types(trust.with_fingerprint(keys, { "SHA256:rs", "SHA256:ed" })), "ed")
  test.equal(types(trust.with_fingerprint(keys, {})), "")
end)
