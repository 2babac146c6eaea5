-- Closes servers to all that they do not offer: SSH by key alone, a firewall, security upgrades by themselves.
--
--   deployrun recipes/harden.lua            again after every change of this file; --plan says what would be done
--   deployrun recipes/harden.lua --abort    an interrupted run is taken back
--
-- Needs: SSH by key as root, or as somebody who may `sudo` without a password; nftables there (`apt-get install
-- nftables`). Before a way in is closed a second login is opened, and again after it; until that one is there the
-- server itself takes the change back within a minute. Other firewalls (ufw, firewalld) are left as they are: have one.

local deploy = require "deploy"

local servers = deploy.hosts { "root@10.0.0.5" }

local harden = deploy.harden {
  open = { 80, 443 },  -- beside SSH's own port; also of what Docker publishes
  upgrades = true,     -- unattended-upgrades of Debian and Ubuntu
}

deploy.command "harden" {
  help = "Keys alone, a firewall, upgrades",
  run = function(run)
    local seen = run:step("look at the servers", {
      on = servers, reads = true,
      run = function(host) return harden:look(host) end,
    })
    run:step("open a second login", {
      on = servers, reads = true,
      run = function(host) return harden:prove(host) end,
    })

    run:step("take keys alone", {
      on = servers, rolling = { limit = 1 },
      run = function(host) return harden:close_passwords(host, seen[host]) end,
      undo = function(host) harden:open_passwords(host, seen[host]) end,
    })
    run:step("close other ports", {
      on = servers, rolling = { limit = 1 },
      run = function(host) return harden:close_ports(host, seen[host]) end,
      undo = function(host) harden:open_ports(host, seen[host]) end,
    })

    run:step("upgrade by itself", {
      on = servers, final = true, timeout = "15m",
      run = function(host) return harden:upgrade_by_itself(host, seen[host]) end,
    })
  end,
}
