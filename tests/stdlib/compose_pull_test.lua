--- What is fetched for a release of a Compose file, and what of it is taken back.

local back = require "compose.back"
local compose = require "compose.app"
local json = require "native.json"
local test = require "test"

local WEB, JOBS, DB = "reg/web@sha256:1", "reg/jobs@sha256:2", "reg/db@sha256:3"
local PINNED = { pins = { web = WEB, jobs = JOBS, db = DB } }

--- A server that has these images; what cannot be pulled fails.
local function server(images, broken)
  local one = { images = images, broken = broken }
  one.host = { name = "h1", docker = {
    inspect_image = function(_, ref)
      if one.images[ref] then return { id = ref } end
      error({ kind = "docker.not_found", message = "no such image" }, 0)
    end,
    pull = function(_, ref)
      if one.broken == ref then error({ kind = "docker.pull", message = "500" }, 0) end
      one.images[ref] = true
    end,
    remove_image = function(_, ref) one.images[ref] = nil end,
  } }
  return one
end

local function app() return setmetatable({ _came = {} }, { __index = compose._Compose }) end

test.it("an attempt that failed has its images taken back too", function()
  local one, shop = server({ [DB] = true }, WEB), app()
  test.raises("docker.pull", function() shop:pull(one.host, PINNED) end)
  test.equal(one.images[JOBS], true)
  shop:unpull(one.host, { containers = {} }, nil)
  test.equal(one.images, { [DB] = true })
end)

test.it("what an earlier attempt brought is told by the one that works", function()
  local one, shop = server({ [DB] = true }, WEB), app()
  pcall(shop.pull, shop, one.host, PINNED)
  one.broken = nil
  local pulled = shop:pull(one.host, PINNED)
  test.equal(pulled.fetched, { JOBS, WEB })
  test.equal(shop:pull(one.host, { pins = { db = DB } }).unchanged, true)
  shop:unpull(one.host, { containers = { { ref = JOBS } } }, pulled)
  test.equal(one.images, { [DB] = true, [JOBS] = true })
end)

test.it("a file on a server that says other things than it should is no release", function()
  local function file(label)
    return json.encode { services = { web = { image = WEB, labels = { service = "shop", ["deployrun.version"] = label,
      ["deployrun.config"] = "c" } } } }
  end
  local said = {}
  local files = { file("v1"), file(5), file { "v1" }, "[]", "no json", "[1", "{\"services\":{\"web\":5}}" }
  for index, one in ipairs(files) do
    said[index] = ("%d shop-x %s"):format(100 - index, one)
  end
  local shop = { config = { service = "shop" } }
  back.extend(shop)
  local stdout = table.concat(said, "\n") .. "\n"
  local found = shop:records { name = "h1", exec = function() return { stdout = stdout } end }
  test.equal({ #found, found[1].version, found[1].images.web }, { 1, "v1", WEB })
end)
