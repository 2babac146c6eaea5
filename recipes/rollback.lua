-- Gives traffic back to an earlier release of an app that recipes/prod.lua shipped: the way back alone, for whoever has
-- to go it at night.
--
--   deployrun recipes/rollback.lua                   the release before: kept containers, so it takes a second
--   deployrun recipes/rollback.lua rollback VERSION  a tag, a SHA or the beginning of one, the digest of an image
--   deployrun recipes/rollback.lua list              what there is: age, size, what differs from the one that serves
--
-- Needs: recipes/prod.yml (servers, image, proxy), SSH to the servers. The registry only where somebody has removed
-- what was kept. Interrupted? `deployrun recipes/rollback.lua --resume` finishes the run, `--abort` undoes it.

local deploy = require "deploy"

local app = deploy.app "recipes/prod.yml"

deploy.command "rollback" {
  help = "Go back to a release before this one",
  default = true,
  params = {
    version = { positional = true, help = "which: tag, SHA or the beginning of one; default: the one before" },
  },
  run = function(run)
    local seen = run:step("look at the servers", {
      on = app.hosts, reads = true,
      run = function(host) return app:look_back(host) end,
    })
    local version = run:step("choose the release", {
      reads = true,
      run = function() return { version = app:rollback_target(seen, run.version) } end,
    })["local"].version

    local gone = run:step("look for what is gone", {
      on = app.hosts, reads = true,
      run = function(host) return app:gone(host, seen[host], version) end,
    })
    run:step("fetch what is gone", {
      on = app.hosts, retries = 2, timeout = "10m",
      run = function(host) return app:fetch(host, version, gone[host]) end,
      undo = function(host) app:unfetch(host, version, seen[host], gone[host]) end,
    })
    local started = run:step("start the kept version", {
      on = app.hosts,
      run = function(host) return app:restart(host, version, seen[host]) end,
      undo = function(host) app:unstart(host, version, seen[host]) end,
    })
    run:step("wait until it is ready", {
      on = app.hosts, reads = true,
      run = function(host) return app:wait_ready(host, started[host]) end,
    })
    run:step("switch traffic", {
      on = app.hosts,
      run = function(host) return app:switch(host, seen[host], started[host]) end,
      undo = function(host) app:unswitch(host, seen[host]) end,
    })
    local traffic = run:elapsed()
    run:step("retire the newer version", {
      on = app.hosts,
      run = function(host) return app:retire(host, seen[host], started[host]) end,
      undo = function(host) app:unretire(host, seen[host], started[host]) end,
    })
    run:log(("%s serves again: traffic after %s, all done after %s"):format(version, traffic, run:elapsed()))
  end,
}

deploy.command "list" {
  help = "What there is to go back to",
  reads = true,
  run = function()
    app:show(function(host) return app:candidates(host) end)
  end,
}
