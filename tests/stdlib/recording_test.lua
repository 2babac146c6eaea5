--- What a plan saw, written down and given to a spec: the same answers again.

local facts = require "deploy.planned.facts"
local json = require "native.json"
local recording = require "deploy.planned.recording"
local test = require "test"

local function container(name, created, labels)
  return { id = ("0"):rep(63) .. #name, name = name, created = created, labels = labels or {} }
end

local function names(list)
  local out = {}
  for index, one in ipairs(list) do out[index] = one.name end
  return out
end

local function told_again(kept) return facts.engine("web1", json.decode(kept:text()).hosts.web1) end

test.it("lists containers as the engine did, those of one second too", function()
  local kept = recording.new()
  kept:note("web1", "docker", "list", { container("a-v4", 8), container("z-v3", 7), container("a-v2", 7) })
  test.equal(names(told_again(kept):list()), { "a-v4", "z-v3", "a-v2" })
end)

test.it("keeps one order where a first list showed a part", function()
  local kept = recording.new()
  local z, m, a = container("z", 7, { app = "1" }), container("m", 7), container("a", 7, { app = "1" })
  kept:note("web1", "docker", "list", { z, a })
  kept:note("web1", "docker", "list", { z, m, a })
  kept:note("web1", "docker", "list", { z, a })
  test.equal(names(told_again(kept):list()), { "z", "m", "a" })
end)

test.it("keeps the newest first where it was only inspected", function()
  local kept = recording.new()
  kept:note("web1", "docker", "list", { container("b", 2) })
  kept:note("web1", "docker", "inspect", container("b", "2026-11-27T01:02:03.5Z"))
  kept:note("web1", "docker", "inspect", container("a", "2026-11-27T01:02:03.5Z"))
  test.equal(names(told_again(kept):list()), { "b", "a" })
end)
