-- Ships a version to several servers with no request lost, and takes it back from all of them when one refuses it.
--
--   deployrun recipes/prod.lua                          the commit that is checked out
--   deployrun recipes/prod.lua deploy --version v42     any tag of the image
--   deployrun recipes/prod.lua rollback                 the release before; kept containers, so it takes a second
--   deployrun recipes/prod.lua rollback --list          what there is to go back to
--   deployrun recipes/prod.lua status | logs | exec -- CMD …
--
-- Needs: recipes/prod.yml (servers, image, proxy), SSH to the servers, Docker on them, the image in its registry.
-- Interrupted? `deployrun recipes/prod.lua --resume` finishes the run, `--abort` undoes it.

local deploy = require "deploy"

local app = deploy.app "recipes/prod.yml"

-- Facts first: everything a later undo has to know was recorded before anything changed.
local function look(run, version)
  return run:step("look at the servers", {
    on = app.hosts, reads = true,
    run = function(host)
      if version then return app:look(host, version) end
      return app:look_back(host)
    end,
  })
end

-- From started containers to a finished release: deploy and rollback differ only in what they start.
local function take_over(run, seen, started)
  -- The barrier: no server gets the new version before it is ready on every server.
  run:step("wait until it is ready", {
    on = app.hosts, reads = true,
    run = function(host) return app:wait_ready(host, started[host]) end,
  })

  -- One server first, then all others. Requests that are under way end where they began.
  run:step("switch traffic", {
    on = app.hosts,
    rolling = { first = 1, limit = "100%" },
    run = function(host) return app:switch(host, seen[host], started[host]) end,
    undo = function(host) app:unswitch(host, seen[host]) end,
  })
  local traffic = run:elapsed()

  -- Stopped after their last request, and kept for a rollback.
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
      on = app.hosts, parallel = 20, retries = 2, timeout = "10m",
      run = function(host) return app:pull(host, run.version, seen[host]) end,
      undo = function(host, pulled) app:unpull(host, run.version, seen[host], pulled) end,
    })

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

    -- What is let go cannot come back: from here on the run only goes forward.
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

    local started = run:step("start the kept version", {
      on = app.hosts,
      run = function(host) return app:restart(host, chosen.version, seen[host]) end,
      undo = function(host) app:unstart(host, chosen.version, seen[host]) end,
    })

    local traffic = take_over(run, seen, started)
    run:log(("%s serves again: traffic after %s, all done after %s"):format(chosen.version, traffic, run:elapsed()))
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
    role = { help = "of this role; default: each server's first" },
  },
  run = function(run)
    app:show(function(host) return app:logs(host, { lines = run.lines, role = run.role }) end)
  end,
}

deploy.command "exec" {
  help = "Run a command inside what serves, on every server",
  reads = true,
  params = {
    command = { rest = true, required = true, help = "after --" },
    role = { help = "in this role; default: each server's first" },
  },
  run = function(run)
    app:show(function(host) return app:exec(host, run.command, { role = run.role }) end)
  end,
}
