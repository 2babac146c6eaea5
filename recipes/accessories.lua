-- What stands beside an app that recipes/prod.lua ships (search, cache, another database): booted, replaced, asked
-- whether the app reaches it. A deploy boots what is missing too, and never replaces one.
--
--   deployrun recipes/accessories.lua                how they are
--   deployrun recipes/accessories.lua boot           starts what is not there
--   deployrun recipes/accessories.lua reboot         replaces those whose settings, secrets or image changed
--   deployrun recipes/accessories.lua reboot search --anyway     this one, changed or not
--   deployrun recipes/accessories.lua reach          asks each from the app's network
--   deployrun recipes/accessories.lua remove search  its container goes; its volumes stay
--
-- Needs: recipes/prod.yml with `accessories`, SSH to the servers. Interrupted? `--resume` finishes the run, `--abort`
-- undoes it.

local deploy = require "deploy"

local app = deploy.app "recipes/prod.yml"

local WHICH = { positional = true, help = "this one; default: all" }

-- Facts first: what a later undo has to know.
local function look(run, hosts)
  return run:step("look at the servers", {
    on = hosts, reads = true,
    run = function(host) return app:look(host) end,
  })
end

deploy.command "status" {
  help = "How they are, and whose settings have changed",
  default = true,
  reads = true,
  run = function() app:show(function(host) return app:accessory_status(host) end) end,
}

deploy.command "boot" {
  help = "Start what is not there",
  params = { which = WHICH },
  run = function(run)
    local only = run.which and { run.which }
    local hosts = app:accessory_hosts(only)
    local seen = look(run, hosts)
    run:step("boot the accessories", {
      on = hosts,
      run = function(host) return app:boot_accessories(host, seen[host], only) end,
      undo = function(host) app:unboot_accessories(host, seen[host], only) end,
    })
  end,
}

deploy.command "reboot" {
  help = "Replace those that have changed; a new one that does not get ready gives way to the old one",
  params = { which = WHICH, anyway = { type = "boolean", help = "also where nothing has changed" } },
  run = function(run)
    local only = run.which and { run.which }
    local hosts = app:accessory_hosts(only)
    local seen = look(run, hosts)
    run:step("reboot the accessories", {
      on = hosts,
      run = function(host) return app:reboot_accessories(host, seen[host], { only = only, force = run.anyway }) end,
      undo = function(host) app:unreboot_accessories(host, seen[host], only) end,
    })
    run:step("let go of what was replaced", {
      on = hosts, final = true,
      run = function(host) app:forget_accessories(host, only) end,
    })
  end,
}

deploy.command "reach" {
  help = "Ask each from the network of the app's containers",
  params = { which = WHICH },
  reads = true,
  run = function(run)
    local only = run.which and { run.which }
    run:step("reach the accessories from the app", {
      on = app:accessory_hosts(only), reads = true, on_failure = "finish",
      run = function(host) return app:reach_accessories(host, only) end,
    })
  end,
}

deploy.command "remove" {
  help = "Remove the container of one; its volumes stay",
  params = { which = { positional = true, required = true, help = "which" } },
  run = function(run)
    local only = { run.which }
    local hosts = app:accessory_hosts(only)
    local seen = look(run, hosts)
    run:step("stop the accessory", {
      on = hosts,
      run = function(host) return app:stop_accessories(host, only) end,
      undo = function(host) app:unstop_accessories(host, seen[host], only) end,
    })
    run:step("remove its container", {
      on = hosts, final = true,
      run = function(host) return app:remove_accessories(host, only) end,
    })
  end,
}
