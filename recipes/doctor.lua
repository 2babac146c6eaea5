-- Says what keeps an app from being shipped or from serving: with what shows it, why it is so, and what mends it.
--
--   deployrun recipes/doctor.lua                        looks, and changes nothing
--   deployrun recipes/doctor.lua --fix                  does what is safe (frees what nothing uses), then looks
--   deployrun recipes/doctor.lua --config staging.yml   another target
--
-- Needs: the app's inventory, and SSH to its servers. Ends with 1 where it finds an error. docs/runbook.md lists all
-- that it can find. Say below what your app has beside its containers.

local deploy = require "deploy"

local function doctor(config)
  return deploy.doctor {
    app = deploy.app(config),
    -- databases = { { path = "/data/app.sqlite3", pending = { "/app", "pending" } } },
    -- accessories = { { name = "search", container = "shop-search", port = 7700, path = "/health" } },
    -- assets = "/",                                   -- a page whose style sheets and scripts must be there
    -- jobs = { { command = { "bin/jobs", "alive" } } },
    -- certificates = { { name = "shop.example.com", days = 14 } },
  }
end

deploy.command "look" {
  help = "What is wrong, why, and what mends it",
  default = true,
  reads = function(params) return not params.fix end,
  params = {
    config = { default = "recipes/prod.yml", help = "the app's inventory" },
    fix = { type = "boolean", default = false, help = "do what is safe" },
  },
  run = function(run)
    doctor(run.config):run(run, { fix = run.fix })
  end,
}
