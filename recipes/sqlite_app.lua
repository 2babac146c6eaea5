-- Ships an app that keeps its data in SQLite, on one server, with no request lost and no row lost: the migration is a
-- step of its own, before the new version starts, while requests wait at the proxy. When anything fails up to the
-- moment that the new version gets its first request, the database is what it was, and the old version serves.
--
--   deployrun recipes/sqlite_app.lua                          the commit that is checked out
--   deployrun recipes/sqlite_app.lua deploy --version v42     any tag of the image
--   deployrun recipes/sqlite_app.lua rollback                 the release before; the database stays as it is
--   deployrun recipes/sqlite_app.lua status | logs
--
-- Needs: recipes/sqlite_app.yml (server, image, proxy, volume), SSH to the server, Docker on it, the image in its
-- registry, and an app that does not migrate in its entrypoint (docs/sqlite.md: `db:prepare` and its kind).
-- Interrupted? `deployrun recipes/sqlite_app.lua --resume` finishes the run, `--abort` undoes it.

local deploy = require "deploy"

local app = deploy.app "recipes/sqlite_app.yml"

local database = deploy.migrate(app, {
  database = "/data/app.sqlite3",       -- as the app's containers see it, in one of their volumes
  command = { "/app", "migrate" },      -- bin/rails db:migrate, flask db upgrade, …
  pending = { "/app", "pending" },      -- ends with 0 where there is nothing to do; may be left out
  timeout = "5m",
})

-- Facts first: everything a later undo has to know was recorded before anything changed.
local function look(run, version)
  return run:step("look at the server", {
    on = app.hosts, reads = true,
    run = function(host) return app:look(host, version) end,
  })
end

-- From a started container to a finished release: deploy and rollback differ only in what they start.
local function take_over(run, seen, started)
  run:step("wait until it is ready", {
    on = app.hosts, reads = true,
    run = function(host) return app:wait_ready(host, started[host]) end,
  })

  run:step("switch traffic", {
    on = app.hosts,
    run = function(host) return app:switch(host, seen[host], started[host]) end,
    undo = function(host) database:unswitch(host, seen[host]) end,
  })

  -- Requests that waited go to the new version now. What is written from here on is its own, so there is no way back
  -- but a rollback: this step and those after it are final.
  database:release(run, seen)

  run:step("retire the old version", {
    on = app.hosts, final = true, on_failure = "finish", retries = 3,
    run = function(host) return app:retire(host, seen[host], started[host]) end,
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

    -- Is anything pending? Then: check, hold requests, snapshot, migrate. Requests wait from here to the release.
    database:run(run, seen, run.version)

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
  help = "Go back to a release that is kept on the server; migrations are not taken back",
  params = {
    version = { positional = true, help = "which; default: the one before" },
  },
  run = function(run)
    local seen = look(run)

    local chosen = run:step("choose the release", {
      reads = true,
      run = function() return { version = app:rollback_target(seen, run.version) } end,
    })["local"]

    run:step("look at the database", {
      on = database.host, reads = true,
      run = function(host) return database:tell_rollback(run, seen[host], chosen.version) end,
    })

    local started = run:step("start the kept version", {
      on = app.hosts,
      run = function(host) return app:restart(host, chosen.version, seen[host]) end,
      undo = function(host) app:unstart(host, chosen.version, seen[host]) end,
    })

    take_over(run, seen, started)
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
