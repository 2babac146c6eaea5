-- Backups of a SQLite database: taken on its server by its own timer, kept for 30 days, restored with an undo.
--
--   deployrun recipes/backup.lua install             program, plan and timer; again after every change of this file
--   deployrun recipes/backup.lua now                 one more, now
--   deployrun recipes/backup.lua list                what there is, and how the last one went
--   deployrun recipes/backup.lua drill [ID]          fetches the newest (or that one) and checks all of it
--   deployrun recipes/backup.lua restore [ID|FILE]   stop → restore → check → start; a failure takes it all back
--   deployrun recipes/backup.lua uninstall           the timer goes, the backups stay
--
-- Needs: SSH to the server. For S3: S3_ACCESS_KEY and S3_SECRET_KEY in the environment.

local deploy = require "deploy"
local shown = require("deploy.backup").shown

local backup = deploy.backup {
  name = "shop",
  host = deploy.host "deploy@10.0.0.5",
  database = { volume = "shop-data", path = "production.sqlite3" },
  every = "daily 03:15",
  keep = "30d",
  folder = "/home/deploy/backups",
  -- s3 = {
  --   endpoint = "https://s3.eu-central-1.amazonaws.com", region = "eu-central-1",
  --   bucket = "backups", prefix = "shop/",
  --   access_key = deploy.secrets.from_env "S3_ACCESS_KEY", secret_key = deploy.secrets.from_env "S3_SECRET_KEY",
  -- },
}

deploy.command "install" {
  help = "Bring program, plan and timer to the server",
  run = function(run)
    local done = run:step("install the backup", {
      on = backup.host,
      run = function() return backup:install() end,
    })[backup.host]
    run:log("scheduled by " .. done.schedule)
  end,
}

deploy.command "now" {
  help = "Take a backup",
  default = true,
  run = function(run)
    local made = run:step("take a backup", {
      on = backup.host,
      run = function() return backup:now() end,
    })[backup.host]
    run:log(("%s: %.1f MB of %.1f MB"):format(made.id, made.bytes / 1e6, made.contents / 1e6))
  end,
}

deploy.command "list" {
  help = "What there is",
  reads = true,
  run = function(run) run:log(shown(backup:list())) end,
}

deploy.command "drill" {
  help = "Fetch a backup and check all of it",
  reads = true,
  params = { which = { positional = true, help = "its ID; default: the newest" } },
  run = function(run)
    local seen = backup:drill(run.which)
    if #seen.problems > 0 then deploy.fail(("%s is damaged: %s"):format(seen.id, seen.problems[1])) end
    run:log(("%s from %s is whole: %.1f MB in %d ms"):format(seen.id, seen.store, seen.contents / 1e6, seen.ms))
  end,
}

deploy.command "restore" {
  help = "Replace the database by a backup",
  params = { which = { positional = true, help = "its ID, or a file of this machine; default: the newest" } },
  run = function(run)
    local host = backup.host
    local label = run:once("label", function() return os.date("!%Y%m%dT%H%M%SZ") end)

    local users = run:step("look who uses it", {
      on = host, reads = true,
      run = function() return backup:users() end,
    })[host]

    local fetched = run:step("fetch the backup", {
      on = host,
      run = function() return backup:fetch(run.which) end,
      undo = function(_, got) if got then backup:discard(got.file) end end,
    })[host]

    local stopped = run:step("stop the app", {
      on = host,
      run = function() return backup:stop(users) end,
      undo = function(_, were) backup:start(were or users) end,
    })[host]

    -- What is there now is kept, so that every step from here on has a way back.
    local before = run:step("keep what is there", {
      on = host,
      run = function() return backup:keep(label) end,
    })[host]

    run:step("restore", {
      on = host,
      run = function() return backup:load(fetched.file) end,
      undo = function() if before.file then backup:load(before.file) end end,
    })

    run:step("check the database", {
      on = host,
      run = function()
        local found = backup:check().problems
        if #found > 0 then deploy.fail("the restored database is damaged: " .. found[1]) end
      end,
    })

    run:step("start the app", {
      on = host,
      run = function() backup:start(stopped) end,
      undo = function() backup:stop(users) end,
    })

    run:step("tidy up", {
      on = host, final = true,
      run = function() backup:discard(fetched.file) end,
    })
    if before.file then
      run:log(("restored %s; what was there before is restore/%s"):format(fetched.id, before.file))
    end
  end,
}

deploy.command "uninstall" {
  help = "Remove the timer; the backups stay",
  run = function(run)
    run:step("uninstall the backup", {
      on = backup.host,
      run = function() backup:uninstall() end,
    })
  end,
}
