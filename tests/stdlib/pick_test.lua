local pick = require "deploy.app.pick"
local test = require "test"

local WEB = { name = "web", proxied = true }

local function facts(version, created, state, name)
  return { id = ("%s%s"):format(version, ("0"):rep(60)), name = name or "shop-web-" .. version, role = "web",
    version = version, created = created, state = state or "exited", image = "i" .. version, ref = "shop:" .. version }
end

local function look(serving, ...)
  local containers = {}
  for rank, one in ipairs { ... } do one.rank, containers[one.name] = one.rank or rank, one end
  local route = serving and { container = (serving .. ("0"):rep(60)):sub(1, 12) }
  return { containers = containers, routes = { web = route } }
end

local function versions(list)
  local out = {}
  for index, one in ipairs(list) do out[index] = one.version end
  return out
end

local function places(...)
  local out = {}
  for index, host in ipairs { ... } do out[index] = { host = host, role = WEB } end
  return out
end

test.it("takes what the proxy serves for current, whatever else runs", function()
  local seen = look("v1", facts("v1", 1, "running"), facts("v2", 2, "running"))
  test.equal(pick.current(seen, WEB).version, "v1")
  test.equal(pick.current(look(nil, facts("v1", 1, "running")), WEB), nil)
end)

test.it("takes what runs besides what was started for replaced, by name", function()
  local seen = look("v1", facts("v2", 2, "running"), facts("v1", 1, "running"), facts("v0", 0))
  local function names(started)
    local out = {}
    for index, one in ipairs(pick.replaced(seen, { WEB }, started)) do out[index] = one.facts.name end
    return out
  end
  test.equal(names { roles = { web = { id = facts("v2", 2).id } } }, { "shop-web-v1" })
  test.equal(names(nil), { "shop-web-v1", "shop-web-v2" })
  test.equal(pick.replaced(seen, { { name = "jobs" } }), {})
end)

test.it("takes the engine's order for what was made within one second", function()
  local seen = look("v1", facts("v1", 5, "running"), facts("v2", 5), facts("v3", 5))
  test.equal(versions(pick.releases(seen, "web")), { "v1", "v2", "v3" })
  test.equal(pick.rollback_target({ h1 = seen }, places "h1"), "v2")
end)

test.it("takes the newest that runs for a role without proxy", function()
  local seen = look(nil, facts("v1", 1, "running"), facts("v2", 2, "running"), facts("v3", 3))
  test.equal(pick.current(seen, { name = "web", proxied = false }).version, "v2")
end)

test.it("rolls back to the release before, not to one that came after", function()
  local seen = { a = look("v2", facts("v1", 1), facts("v2", 2, "running"), facts("v3", 3)) }
  test.equal(pick.rollback_target(seen, places("a")), "v1")
end)

test.it("rolls back to what every server keeps", function()
  local seen = {
    a = look("v3", facts("v1", 1), facts("v2", 2), facts("v3", 3, "running")),
    b = look("v3", facts("v1", 1), facts("v3", 3, "running")),
  }
  test.equal(pick.rollback_target(seen, places("a", "b")), "v1")
end)

test.it("names the server that keeps no such release, and what it keeps", function()
  local seen = { a = look("v3", facts("v2", 2), facts("v3", 3, "running")) }
  test.equal(pick.rollback_target(seen, places("a"), "v2"), "v2")
  local err = test.raises("app.no_release", function() pick.rollback_target(seen, places("a"), "v9") end)
  test.contains(err.message, "a keeps no container of version v9")
  test.contains(err.hint, "v2")
  test.raises("app.no_release", function() pick.rollback_target({ a = look("v3", facts("v3", 3)) }, places("a")) end)
end)

test.it("lets go of the oldest beyond what is kept, and of what was replaced", function()
  local seen = look("v9", facts("v9", 9, "running"), facts("v1", 1), facts("v2", 2), facts("v3", 3, "created"),
    facts("v4", 4), facts("v5", 5, "exited", "shop-web-v5_replaced_abc"))
  test.equal(versions(pick.surplus(seen.containers, "web", 2)), { "v5", "v2", "v1" })
  test.equal(versions(pick.surplus(seen.containers, "web", 5)), { "v5" })
  test.equal(versions(pick.surplus(seen.containers, "worker", 0)), {})
end)

test.it("knows what a start leaves: what it replaced is stopped, and set aside where it had the name", function()
  local seen = look("v1", facts("v1", 1, "running"), facts("v0", 0))
  local after = pick.after(seen.containers, { web = { id = "new", name = "shop-web-v2" } })
  test.equal(after["shop-web-v1"].state, "exited")
  test.equal(after["shop-web-v0"].state, "exited")
  test.equal(seen.containers["shop-web-v1"].state, "running")
  after = pick.after(seen.containers, { web = { id = "new", name = "shop-web-v1" } })
  test.equal(after["shop-web-v1"], nil)
  test.equal(versions(pick.surplus(after, "web", 5)), { "v1" })
  test.equal(pick.after(seen.containers, { web = { id = facts("v1").id, name = "shop-web-v1" } })["shop-web-v1"].state,
    "running")
end)

local function remembering(seen, ...)
  seen.records = {}
  for index, version in ipairs { ... } do
    seen.records[index] = { version = version, at = 10 - index, images = { web = "shop@sha256:" .. version } }
  end
  return seen
end

test.it("goes back to what a server remembers where its container is gone", function()
  local seen = { a = remembering(look("v3", facts("v3", 5, "running")), "v4", "v3") }
  test.raises("app.no_release", function() pick.rollback_target(seen, places("a")) end)
  seen.a = remembering(look("v3", facts("v3", 20, "running"), facts("v1", 1)), "v3", "v2", "v1")
  test.equal(pick.rollback_target(seen, places("a")), "v2")
  test.equal(pick.rollback_target(seen, places("a"), "v1"), "v1")
  local known = pick.known(seen.a, "web")
  test.equal(versions(known), { "v3", "v2", "v1" })
  test.equal({ known[2].facts, known[2].ref, known[3].facts.state }, { nil, "shop@sha256:v2", "exited" })
end)

test.it("takes what was noted before a release for older than it, whatever clock noted it", function()
  local seen = { a = remembering(look("v3", facts("v3", 5, "running"), facts("v1", 1)), "v3", "v2") }
  seen.a.records[2].at = 3600  -- an hour fast
  test.equal(pick.rollback_target(seen, places("a")), "v2")
end)

test.it("goes on from a version whose container was made again by a rollback", function()
  local seen = { a = remembering(look("v2", facts("v3", 30), facts("v2", 99, "running"), facts("v1", 10)), "v3", "v2",
    "v1") }
  test.equal(pick.rollback_target(seen, places("a")), "v1")
  test.equal(versions(pick.known(seen.a, "web")), { "v3", "v2", "v1" })
end)

test.it("knows a version by the beginning of its SHA, by the whole of it, by its digest", function()
  local seen = { a = remembering(look("b7e23ec29a", facts("b7e23ec29a", 9, "running"), facts("b7e2aa0001", 8),
    facts("0beec7b5ea", 7)), "b7e23ec29a") }
  local function target(wanted) return pick.rollback_target(seen, places("a"), wanted) end
  test.equal(target "0beec7", "0beec7b5ea")
  test.equal(target "0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33", "0beec7b5ea")
  seen.a.records[1].images.web = "shop@sha256:abc123"
  test.equal(target "sha256:abc123", "b7e23ec29a")
  local err = test.raises("app.no_release", function() target "b7e2" end)  -- two begin so
  test.contains(err.hint, "b7e2aa0001")
  test.raises("app.no_release", function() target "0be" end)
end)

test.it("takes a tag neither for the beginning of another one nor for its continuation", function()
  local seen = { a = look("v2.0.0", facts("v2.0.0", 9, "running"), facts("v1.2.1", 8), facts("v1.30.0", 7),
    facts("1000", 6)) }
  for _, wanted in ipairs { "v1.2.10", "v1.3", "v1.30", "10001", "1000000" } do
    test.raises("app.no_release", function() pick.rollback_target(seen, places("a"), wanted) end)
  end
end)
