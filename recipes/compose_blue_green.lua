-- Ships a version of a Compose file with no request lost: a second project beside the first, then the proxy switches.
--
--   deployrun recipes/compose_blue_green.lua                          the commit that is checked out
--   deployrun recipes/compose_blue_green.lua deploy --version 3f2a91c any tag that CI has pushed; `latest` is refused
--   deployrun recipes/compose_blue_green.lua rollback [VERSION]       the release before; kept, so it takes a second
--   deployrun recipes/compose_blue_green.lua rollback --list          what there is to go back to
--   deployrun recipes/compose_blue_green.lua rollback --with-database what the settings name as `migrate.database`, too
--   deployrun recipes/compose_blue_green.lua backup | restore [NAME] | restore --list   that database alone
--   deployrun recipes/compose_blue_green.lua status | logs | exec -- CMD …
--
-- Needs: recipes/compose_blue_green.yml (servers, proxy, what gets traffic), the Compose file beside it, SSH to the
-- servers, Docker with `docker compose` on them, images in a registry: nothing is built on a server.
-- With `mode: window` in the settings the old version ends before the new one starts, behind a maintenance page.

local deploy = require "deploy"

local app = deploy.compose "recipes/compose_blue_green.yml"

-- In a window, of a SQLite database that the settings name: a snapshot first, which comes back when anything fails.
local database = app:migration()
local backup = app:backup()
local restore = database and deploy.restore(database, { backup = backup })

local function look(run, version)
  return run:step("look at the servers", {
    on = app.hosts, reads = true,
    run = function(host)
      if version then return app:look(host, version) end
      return app:look_back(host)
    end,
  })
end

-- Everything up to here was preparation. In a window, requests are answered 503 with Retry-After from now on.
local function open_window(run, seen, version, sent)
  if not app.window then return end
  run:step("open the window", {
    on = app.hosts,
    run = function(host) return app:open_window(host, seen[host], version, sent and sent[host]) end,
    undo = function(host) app:unopen_window(host, seen[host]) end,
  })
end

-- From started containers to a finished release: deploy and rollback differ only in what they start.
local function take_over(run, seen, version, started, release)
  run:step("wait until it is ready", {
    on = app.hosts, reads = true,
    run = function(host) return app:wait_ready(host, started[host]) end,
  })

  -- Nothing of the old version has been touched so far, unless in a window.
  run:step("switch traffic", {
    on = app.hosts,
    run = function(host) return app:switch(host, seen[host], started[host]) end,
    undo = function(host) app:unswitch(host, seen[host]) end,
  })
  local traffic = run:elapsed()

  -- Services that alone write a volume: the old one ends first. Failing here takes traffic back as well.
  if app:has_writers() then
    run:step("hand over what only one may write", {
      on = app.hosts,
      run = function(host) return app:hand_over(host, version, seen[host], release(host)) end,
      undo = function(host) app:unhand_over(host, version, seen[host]) end,
    })
  end

  if app.window then
    run:step("close the window", {
      on = app.hosts, final = true, on_failure = "finish", retries = 3,
      run = function(host) return app:close_window(host, seen[host]) end,
    })
    traffic = run:elapsed()
  else
    -- Stopped after its last request, and kept for a rollback.
    run:step("retire the old version", {
      on = app.hosts,
      run = function(host) return app:retire(host, seen[host], started[host]) end,
      undo = function(host) app:unretire(host, seen[host], started[host]) end,
    })
  end
  return traffic
end

deploy.command "deploy" {
  help = "Ship a version",
  default = true,
  params = {
    version = { default = deploy.git.revision, help = "tag of the images; default: the commit that is checked out" },
  },
  run = function(run)
    run:log("shipping " .. app:image(run.version))
    local seen = look(run, run.version)

    -- What the tags mean is asked once; every server gets the same digests.
    local pinned = run:step("pin the images", {
      on = app.hosts[1], reads = true, retries = 2, timeout = "1m",
      run = function(host) return app:pin(host, run.version) end,
    })[app.hosts[1]]

    run:step("see to the proxy", {
      on = app.hosts,
      run = function(host) return app.proxy:boot(host, seen[host]) end,
      undo = function(host) app.proxy:unboot(host, seen[host]) end,
    })

    run:step("pull the images", {
      on = app.hosts, parallel = 20, retries = 2, timeout = "10m",
      run = function(host) return app:pull(host, pinned) end,
      undo = function(host, pulled) app:unpull(host, seen[host], pulled) end,
    })

    local sent = run:step("send the Compose file", {
      on = app.hosts,
      run = function(host) return app:send(host, run.version, seen[host], pinned) end,
      undo = function(host) app:unsend(host, run.version, seen[host], pinned) end,
    })

    -- Databases and the like: not touched where nothing has changed.
    run:step("see to what stays", {
      on = app.hosts,
      run = function(host) return app:keep(host, run.version, seen[host], pinned) end,
      undo = function(host, kept) app:unkeep(host, run.version, seen[host], kept) end,
    })

    if app.window then
      run:step("make the new version's containers", {
        on = app.hosts,
        run = function(host) return app:make(host, run.version, seen[host], sent[host], pinned) end,
        undo = function(host) app:unstart(host, run.version, seen[host]) end,
      })
    end
    local function open() open_window(run, seen, run.version, sent) end
    if database then
      database:run(run, seen, run.version, { hold = open, release = { sent = sent[database.host], pinned = pinned } })
    else
      open()
    end

    if app.config.migrate and not database then
      run:step("migrate", {
        on = app.hosts[1],
        run = function(host) return app:migrate(host, run.version, seen[host], sent[host], pinned) end,
        undo = function(host) app:unmigrate(host, run.version, seen[host]) end,
      })
    end

    local started = run:step("start the new version", {
      on = app.hosts,
      run = function(host) return app:start(host, run.version, seen[host], sent[host], pinned) end,
      undo = function(host) app:unstart(host, run.version, seen[host]) end,
    })

    take_over(run, seen, run.version, started, function(host) return { sent = sent[host], pinned = pinned } end)
    if database then database:release(run, seen) end

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
    with_database = { type = "boolean", help = "the database too, from the snapshot before the newer migrations" },
    word = { help = "with the database: the version once more, because what was written since is lost" },
  },
  reads = function(params) return params.list end,
  run = function(run)
    if run.list then return app:show(function(host) return app:candidates(host) end) end
    if run.with_database and not database then deploy.fail("the settings name no `migrate.database`") end
    local seen = look(run)

    local chosen = run:step("choose the release", {
      reads = true,
      run = function() return { version = app:rollback_target(seen, run.version) } end,
    })["local"]

    if run.with_database then database:ask_back(run, seen, chosen.version, run.word) end

    -- Where somebody has removed what was kept, it is made again from the digest that was released.
    local gone = run:step("look for what is gone", {
      on = app.hosts, reads = true,
      run = function(host) return app:gone(host, seen[host], chosen.version) end,
    })
    run:step("fetch what is gone", {
      on = app.hosts, retries = 2, timeout = "10m",
      run = function(host) return app:fetch(host, chosen.version, gone[host]) end,
      undo = function(host, fetched) app:unfetch(host, chosen.version, seen[host], gone[host], fetched) end,
    })

    local function open() open_window(run, seen, chosen.version) end
    if run.with_database then
      database:bring_back(run, seen, { hold = open })
    else
      if database then
        run:step("look at the database", {
          on = database.host, reads = true,
          run = function(host) return database:tell_rollback(run, seen[host], chosen.version) end,
        })
      end
      open()
    end

    local started = run:step("start the kept version", {
      on = app.hosts,
      run = function(host) return app:restart(host, chosen.version, seen[host], gone[host]) end,
      undo = function(host) app:unstart(host, chosen.version, seen[host]) end,
    })

    local traffic = take_over(run, seen, chosen.version, started, function(host) return gone[host].release or {} end)
    if database then database:release(run, seen) end
    run:log(("%s serves again: traffic after %s, all done after %s"):format(chosen.version, traffic, run:elapsed()))
  end,
}

deploy.command "backup" {
  help = "Take a backup of the database",
  run = function(run)
    if not backup then deploy.fail("the settings name no `backup`") end
    local made = run:step("take a backup", {
      on = backup.host,
      run = function() return backup:now() end,
    })[backup.host]
    run:log(("%s: %.1f MB"):format(made.id, made.bytes / 1e6))
  end,
}

deploy.command "restore" {
  help = "Replace the database by a backup or a snapshot: stop, restore, boot, fill services, check; or undo it all",
  params = {
    which = { positional = true, help = "a backup's ID, a file here, a snapshot's name; default: the newest backup" },
    list = { type = "boolean", help = "only say what there is" },
  },
  reads = function(params) return params.list end,
  run = function(run)
    if not restore then deploy.fail("the settings name no `migrate.database`") end
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
  params = {
    lines = { type = "integer", default = 100, help = "how many, of each server" },
    service = { help = "of this service; default: the one that gets traffic" },
  },
  run = function(run)
    app:show(function(host) return app:logs(host, { lines = run.lines, role = run.service }) end)
  end,
}

deploy.command "exec" {
  help = "Run a command inside what serves, on every server",
  reads = true,
  params = {
    command = { rest = true, required = true, help = "after --" },
    service = { help = "in this service; default: the one that gets traffic" },
  },
  run = function(run)
    app:show(function(host) return app:exec(host, run.command, { role = run.service }) end)
  end,
}
