-- Ships a Flask app that gunicorn serves with several workers, its data in SQLite. The workers start together; one of
-- them may make the tables: the entrypoint says so with `deployrun-agent once`, which is in the image:
--
--   deployrun-agent once --db /data/app.sqlite3 --key schema-1 --timeout 60s -- flask init-db && exec gunicorn app:app
--
--   deployrun recipes/flask_gunicorn.lua                       the commit that is checked out
--   deployrun recipes/flask_gunicorn.lua deploy --version v42  any tag of the image
--   deployrun recipes/flask_gunicorn.lua health                /healthz, /health/live, /health/ready and /health
--   deployrun recipes/flask_gunicorn.lua heal                  starts again what says that it is not alive
--   deployrun recipes/flask_gunicorn.lua backup                one more, now; recipes/backup.lua has a timer take them
--   deployrun recipes/flask_gunicorn.lua restore [NAME]        the newest backup, or that one; or --list
--   deployrun recipes/flask_gunicorn.lua rollback | status | logs
--
-- Needs: recipes/flask_gunicorn.yml (server, image, proxy, volume), SSH to the server, Docker on it, the image.
-- Migrations of a later version belong before its start: recipes/sqlite_app.lua. Interrupted? --resume or --abort.

local deploy = require "deploy"
local vitals = require "deploy.app.vitals"

local app = deploy.app "recipes/flask_gunicorn.yml"

local backup = deploy.backup {
  name = "board", host = app.hosts[1],
  database = { volume = "board-data", path = "app.sqlite3" },
  folder = "/home/deploy/backups",      -- of the server; or s3 = { … } (docs/backup.md)
}

-- As the app's containers see it. The entrypoint makes what an older backup does not have.
local restore = deploy.restore(app, { database = "/data/app.sqlite3", backup = backup })

local function look(run, version)
  return run:step("look at the server", {
    on = app.hosts, reads = true,
    run = function(host)
      if version then return app:look(host, version) end
      return app:look_back(host)
    end,
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
  local traffic = run:elapsed()

  run:step("retire the old version", {
    on = app.hosts,
    run = function(host) return app:retire(host, seen[host], started[host]) end,
    undo = function(host) app:unretire(host, seen[host], started[host]) end,
  })
  return traffic
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
  help = "Go back to a release before this one",
  params = {
    version = { positional = true, help = "which: tag, SHA or the beginning of one; default: the one before" },
    list = { type = "boolean", help = "only say what there is: age, size, what differs" },
  },
  reads = function(params) return params.list end,
  run = function(run)
    if run.list then return app:show(function(host) return app:candidates(host) end) end
    local seen = look(run)

    local chosen = run:step("choose the release", {
      reads = true,
      run = function() return { version = app:rollback_target(seen, run.version) } end,
    })["local"]

    local gone = run:step("look for what is gone", {
      on = app.hosts, reads = true,
      run = function(host) return app:gone(host, seen[host], chosen.version) end,
    })
    run:step("fetch what is gone", {
      on = app.hosts, retries = 2, timeout = "10m",
      run = function(host) return app:fetch(host, chosen.version, gone[host]) end,
      undo = function(host) app:unfetch(host, chosen.version, seen[host], gone[host]) end,
    })

    local started = run:step("start the kept version", {
      on = app.hosts,
      run = function(host) return app:restart(host, chosen.version, seen[host]) end,
      undo = function(host) app:unstart(host, chosen.version, seen[host]) end,
    })

    local traffic = take_over(run, seen, started)
    run:log(("%s serves again: traffic after %s, all done after %s"):format(chosen.version, traffic, run:elapsed()))
  end,
}

deploy.command "backup" {
  help = "Take a backup of the database",
  run = function(run)
    local made = run:step("take a backup", {
      on = backup.host,
      run = function() return backup:now() end,
    })[backup.host]
    run:log(("%s: %.1f MB"):format(made.id, made.bytes / 1e6))
  end,
}

deploy.command "restore" {
  help = "Replace the database by a backup or a snapshot: stop, restore, boot, check; or undo it all",
  params = {
    which = { positional = true, help = "a backup's ID, a file here, a snapshot's name; default: the newest backup" },
    list = { type = "boolean", help = "only say what there is" },
  },
  reads = function(params) return params.list end,
  run = function(run)
    if run.list then return run:log(restore:list()) end
    restore:run(run, look(run), run.which)
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
