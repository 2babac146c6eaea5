-- Ships an app that keeps its data in SQLite, on one server, with no request lost and no row lost: the migration is a
-- step of its own, before the new version starts, while requests wait at the proxy. When anything fails up to the
-- moment that the new version gets its first request, the database is what it was, and the old version serves.
--
--   deployrun recipes/sqlite_app.lua                          the commit that is checked out
--   deployrun recipes/sqlite_app.lua deploy --version v42     any tag of the image
--   deployrun recipes/sqlite_app.lua rollback                 the release before; the database stays as it is
--   deployrun recipes/sqlite_app.lua rollback --list          what there is to go back to
--   deployrun recipes/sqlite_app.lua rollback --with-database the database too; says what is lost, and asks for a word
--   deployrun recipes/sqlite_app.lua backup                   one more, now; recipes/backup.lua has a timer take them
--   deployrun recipes/sqlite_app.lua restore [NAME]           the newest backup, or that one, or a snapshot
--   deployrun recipes/sqlite_app.lua restore --list           what there is
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

local backup = deploy.backup {
  name = "notes", host = database.host,
  database = { volume = "notes-data", path = "app.sqlite3" },
  folder = "/home/deploy/backups",      -- of the server; or s3 = { … } (docs/backup.md)
}

local restore = deploy.restore(database, { backup = backup })

-- Facts first: everything a later undo has to know was recorded before anything changed.
local function look(run, version)
  return run:step("look at the server", {
    on = app.hosts, reads = true,
    run = function(host)
      if version then return app:look(host, version) end
      return app:look_back(host)
    end,
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
  local traffic = run:elapsed()

  -- Requests that waited go to the new version now. What is written from here on is its own, so there is no way back
  -- but a rollback: this step and those after it are final.
  database:release(run, seen)

  run:step("retire the old version", {
    on = app.hosts, final = true, on_failure = "finish", retries = 3,
    run = function(host) return app:retire(host, seen[host], started[host]) end,
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

    -- Is anything pending? Then: check, hold requests, snapshot, migrate. Requests wait from here to the release.
    database:run(run, seen, run.version)

    if #app:accessory_hosts() > 0 then
      run:step("boot the accessories", {
        on = app:accessory_hosts(),
        run = function(host) return app:boot_accessories(host, seen[host]) end,
        undo = function(host) app:unboot_accessories(host, seen[host]) end,
      })
    end

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
  help = "Go back to a release before this one; migrations are not taken back unless that is said",
  params = {
    version = { positional = true, help = "which: tag, SHA or the beginning of one; default: the one before" },
    list = { type = "boolean", help = "only say what there is: age, size, what differs" },
    with_database = { type = "boolean", help = "the database too, from the snapshot before the newer migrations" },
    word = { help = "with the database: the version once more, because what was written since is lost" },
  },
  reads = function(params) return params.list end,
  run = function(run)
    if run.list then return app:show(function(host) return app:candidates(host) end) end
    local seen = look(run)

    local chosen = run:step("choose the release", {
      reads = true,
      run = function() return { version = app:rollback_target(seen, run.version) } end,
    })["local"]

    if run.with_database then database:ask_back(run, seen, chosen.version, run.word) end

    local gone = run:step("look for what is gone", {
      on = app.hosts, reads = true,
      run = function(host) return app:gone(host, seen[host], chosen.version) end,
    })
    run:step("fetch what is gone", {
      on = app.hosts, retries = 2, timeout = "10m",
      run = function(host) return app:fetch(host, chosen.version, gone[host]) end,
      undo = function(host) app:unfetch(host, chosen.version, seen[host], gone[host]) end,
    })

    if run.with_database then
      -- Hold requests, keep what is there, bring the snapshot back. Requests wait from here to the release.
      database:bring_back(run, seen)
    else
      run:step("look at the database", {
        on = database.host, reads = true,
        run = function(host) return database:tell_rollback(run, seen[host], chosen.version) end,
      })
    end

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
  help = "Replace the database by a backup or a snapshot: stop, restore, boot, fill accessories, check; or undo it all",
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
