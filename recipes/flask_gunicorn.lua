-- Ships a Flask app that gunicorn serves with several workers, its data in SQLite. The workers start together; one of
-- them may make the tables: the entrypoint says so with `deployrun-agent once`, which is in the image:
--
--   deployrun-agent once --db /data/app.sqlite3 --key schema-1 --timeout 60s -- flask init-db && exec gunicorn app:app
--
--   deployrun recipes/flask_gunicorn.lua                       the commit that is checked out
--   deployrun recipes/flask_gunicorn.lua deploy --version v42  any tag of the image
--   deployrun recipes/flask_gunicorn.lua health                /healthz, /health/live, /health/ready and /health
--   deployrun recipes/flask_gunicorn.lua heal                  starts again what says that it is not alive
--   deployrun recipes/flask_gunicorn.lua rollback | status | logs
--
-- Needs: recipes/flask_gunicorn.yml (server, image, proxy, volume), SSH to the server, Docker on it, the image.
-- Migrations of a later version belong before its start: recipes/sqlite_app.lua. Interrupted? --resume or --abort.

local deploy = require "deploy"
local vitals = require "deploy.vitals"

local app = deploy.app "recipes/flask_gunicorn.yml"

local function look(run, version)
  return run:step("look at the server", {
    on = app.hosts, reads = true,
    run = function(host) return app:look(host, version) end,
  })
end

-- `health.path` of the settings is /health/ready: only a version that is ready gets traffic.
local function take_over(run, seen, started)
  run:step("wait until it is ready", {
    on = app.hosts, reads = true,
    run = function(host) return app:wait_ready(host, started[host]) end,
  })

  run:step("switch traffic", {
    on = app.hosts,
    run = function(host) return app:switch(host, seen[host], started[host]) end,
    undo = function(host) app:unswitch(host, seen[host]) end,
  })

  run:step("retire the old version", {
    on = app.hosts,
    run = function(host) return app:retire(host, seen[host], started[host]) end,
    undo = function(host) app:unretire(host, seen[host], started[host]) end,
  })
end

deploy.command "deploy" {
  help = "Ship a version",
  default = true,
  params = {
    version = { default = deploy.git.revision, help = "tag of the image; default: the commit that is checked out" },
  },
  run = function(run)
    run:log("shipping " .. app:image(run.version))
    local seen = look(run, run.version)

    run:step("see to the proxy", {
      on = app.hosts,
      run = function(host) return app.proxy:boot(host, seen[host]) end,
      undo = function(host) app.proxy:unboot(host, seen[host]) end,
    })

    run:step("pull the image", {
      on = app.hosts, retries = 2, timeout = "10m",
      run = function(host) return app:pull(host, run.version, seen[host]) end,
      undo = function(host, pulled) app:unpull(host, run.version, seen[host], pulled) end,
    })

    local started = run:step("start the new version", {
      on = app.hosts,
      run = function(host) return app:start(host, run.version, seen[host]) end,
      undo = function(host) app:unstart(host, run.version, seen[host]) end,
    })

    take_over(run, seen, started)

    run:step("let go of the oldest", {
      on = app.hosts, final = true,
      run = function(host) return app:prune(host, seen[host], started[host]) end,
    })
  end,
}

deploy.command "rollback" {
  help = "Go back to a release that is kept on the server",
  params = {
    version = { positional = true, help = "which; default: the one before" },
  },
  run = function(run)
    local seen = look(run)

    local chosen = run:step("choose the release", {
      reads = true,
      run = function() return { version = app:rollback_target(seen, run.version) } end,
    })["local"]

    local started = run:step("start the kept version", {
      on = app.hosts,
      run = function(host) return app:restart(host, chosen.version, seen[host]) end,
      undo = function(host) app:unstart(host, chosen.version, seen[host]) end,
    })

    take_over(run, seen, started)
  end,
}

deploy.command "health" {
  help = "The four health endpoints of what serves, and what follows from them",
  reads = true,
  run = function()
    app:show(function(host) return vitals.text(app:vitals(host)) end)
  end,
}

-- Liveness decides a restart. What is alive and not ready gets no traffic, and needs no restart.
deploy.command "heal" {
  help = "Start what serves again where it is not alive",
  run = function(run)
    run:step("restart what is not alive", {
      on = app.hosts,
      run = function(host)
        local seen = app:vitals(host)
        if seen.verdict ~= "restart" then return { unchanged = true, note = seen.verdict } end
        host.docker:restart(app:serving(host).id)
        return { note = "restarted" }
      end,
    })
  end,
}

deploy.command "status" {
  help = "What serves, and what is kept",
  reads = true,
  run = function()
    app:show(function(host) return app:status(host) end)
  end,
}

deploy.command "logs" {
  help = "The last log lines of what serves",
  reads = true,
  params = { lines = { type = "integer", default = 100, help = "how many" } },
  run = function(run)
    app:show(function(host) return app:logs(host, { lines = run.lines }) end)
  end,
}
