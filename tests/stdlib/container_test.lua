local config = require "deploy.app.config"
local container = require "deploy.app.container"
local test = require "test"

local function settings(change)
  local raw = { service = "shop", image = "shop", hosts = { "a" } }
  for key, value in pairs(change or {}) do raw[key] = value end
  return config.complete(raw, "test")
end

test.it("names containers and routes", function()
  test.equal(container.name("shop", "web", "v1"), "shop-web-v1")
  test.equal(container.route_name("shop", "web"), "shop-web")
end)

test.it("knows what a version may look like", function()
  for _, version in ipairs { "v1", "1.2.3", "3f2a91c", "_x" } do test.ok(container.is_version(version), version) end
  for _, version in ipairs { "", "v 1", "-v", ".v", "a/b", "a:b", ("x"):rep(129) } do
    test.ok(not container.is_version(version), version)
  end
  test.ok(not container.is_version(nil))
end)

test.it("computes FNV-1a", function()
  test.equal(container.digest(""), "cbf29ce484222325")
  test.equal(container.digest("a"), "af63dc4c8601ec8c")
  test.equal(container.digest("foobar"), "85944171f73967e8")
end)

test.it("gives the same digest for the same settings, another one for any change", function()
  local function digest(change)
    local app = settings(change)
    return container.config_digest(app, app.roles[1])
  end
  local base = digest()
  test.equal(digest(), base)
  test.equal(digest { health = { deadline = "3s" } }, base)  -- no part of a container
  for _, change in ipairs {
    { image = "other" }, { env = { clear = { A = "1" } } }, { env = { secret = { "KEY" } } }, { cmd = { "x" } },
    { volumes = { "data:/data" } }, { labels = { a = "b" } }, { proxy = { app_port = 81 } }, { stop_timeout = "11s" },
    { network = "other" },
  } do
    test.ok(digest(change) ~= base, "no difference for a change")
  end
end)

test.it("labels as Kamal's filters expect", function()
  local app = settings { labels = { team = "a" } }
  local labels = container.labels(app, app.roles[1], "v1", "abc", "{}")
  test.equal(labels, { team = "a", service = "shop", role = "web", destination = "", ["deployrun.version"] = "v1",
    ["deployrun.config"] = "abc", ["deployrun.route"] = "{}" })
end)

test.it("sets a container aside under a name that is free and always the same", function()
  local old = { name = "shop-web-v1", config = "abc" }
  test.equal(container.replaced_name({}, old), "shop-web-v1_replaced_abc")
  test.equal(container.replaced_name({ ["shop-web-v1_replaced_abc"] = {} }, old), "shop-web-v1_replaced_abc_2")
end)
