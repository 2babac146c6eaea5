--- Buildpacks: the command that pack is given.

local packing = require "kamal.packing"
local secret = require "native.secret"
local test = require "test"

test.it("gives pack what Kamal gives it, secrets by name", function()
  local token = secret.value("TOKEN", "hush-hush-token")
  local argv, env = packing.command({ context = "app", tags = { "r/shop:v1", "r/shop:latest" },
    platforms = { "linux/arm64" }, labels = { service = "shop" }, args = { B = 2, A = "one two" },
    secrets = { TOKEN = token }, no_cache = true },
    { builder = "b/full", buildpacks = { "x/ruby" }, repository = "r/shop" })
  test.equal(argv, { "pack", "build", "r/shop", "--platform", "linux/arm64", "--creation-time", "now", "--builder",
    "b/full", "--buildpack", "x/ruby", "--buildpack", "paketo-buildpacks/image-labels", "-t", "r/shop:v1", "-t",
    "r/shop:latest", "--clear-cache", "--env", "BP_IMAGE_LABELS=service=shop", "--env", "A=one two", "--env", "B=2",
    "--env", "TOKEN", "--path", "app" })
  test.ok(env.TOKEN:equals("hush-hush-token"))
end)
