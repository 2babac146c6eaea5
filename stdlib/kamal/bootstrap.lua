--- Docker on a project's servers: there, or installed by Docker's own script where whoever logs in may do that
--- (Kamal's lib/kamal/cli/server.rb).

local door = require "native.door"
local fail = require "native.fail"
local hooks = require "kamal.hooks"
local task = require "native.task"
local text = require "native.text"

local M = {}

local SCRIPT = "https://get.docker.com"
local LIMIT = "15m"
local READY = 90000  -- ms until an engine that was installed a moment ago answers

-- Whether it is there, who logs in, whether that is root or may become it, whether it is in the engine's group.
local LOOK = [[
docker -v >/dev/null 2>&1 && echo there || echo missing
id -un
{ [ "$(id -u)" = 0 ] && echo root; } || { sudo -n true 2>/dev/null && echo sudo; } || echo plain
id -nG | tr ' ' '\n' | grep -qx docker && echo member || echo stranger]]

-- The whole script first: one that is cut off on its way is not run. It becomes root itself.
local INSTALL = [[
set -e
file=$(mktemp)
trap 'rm -f "$file"' EXIT
curl -fsSL -o "$file" "$1" || wget -qO "$file" "$1"
sh "$file"]]

-- A login that is not root's may have no /usr/sbin in its PATH.
local JOIN = 'PATH="$PATH:/usr/sbin:/sbin" && export PATH && sudo -n usermod -aG docker "$(id -un)"'

local function look(host)
  local said = host:exec({ "sh", "-c", LOOK }, { reads = true }).stdout
  local docker, name, rights, group = said:match("^(%l+)\n(%S+)\n(%l+)\n(%l+)")
  if not docker then
    fail.raise("kamal.docker", "the server does not say whether it has Docker",
      { host = host.name, stderr = text.clean(said) })
  end
  return { there = docker == "there", name = name, rights = rights, member = rights == "root" or group == "member" }
end

local function refuse(host, who, what)
  fail.raise("kamal.docker", ("%s, and %s may not change that: neither root nor sudo without a password"):format(what,
    who.name), { host = host.name, hint = ("log in as root, do it by hand (%s), or allow it by `visudo -f " ..
    "/etc/sudoers.d/deployrun`: %s ALL=(root) NOPASSWD: ALL"):format(
    who.there and "sudo usermod -aG docker " .. who.name or SCRIPT, who.name) })
end

local function run_script(host)
  local result = host:exec({ "sh", "-c", INSTALL, "sh", SCRIPT }, { check = false })
  if result.code == 0 then return end
  local said = text.clean(result.stderr ~= "" and result.stderr or result.stdout):gsub("%s+$", "")
  fail.raise("kamal.docker", ("Docker could not be installed: %s"):format(said:match("([^\n]+)$") or "no word of why"),
    { host = host.name, code = result.code, stderr = said,
      hint = ("the server needs its way to %s; what its system needs, the script says"):format(SCRIPT) })
end

local function await_engine(host)
  door.wait(host.name, "until the engine answers", nil, function()
    local deadline = task.now() + READY
    while true do
      local ok, err = pcall(host.docker.version, host.docker)
      if ok then return end
      if task.now() > deadline then error(err, 0) end
      task.sleep(100)
    end
  end)
end

--- Makes who logs in a member of the engine's group, where only that keeps it from the engine.
local function join(host, who)
  if who.rights == "plain" then refuse(host, who, ("%s is not in the group docker"):format(who.name)) end
  host:exec { "sh", "-c", JOIN }
  if not door.is_kept() then host:close() end  -- groups are those of the login
end

--- Sees to Docker on one server. Raises `kamal.docker` where it is missing and cannot be installed.
--- @async
--- @param host Host
--- @return { unchanged: boolean, note?: string }
function M.docker(host)
  local who = look(host)
  if who.there and (who.member or pcall(host.docker.version, host.docker)) then return { unchanged = true } end
  if not who.there then
    if who.rights == "plain" then refuse(host, who, "Docker is not installed") end
    run_script(host)
  end
  if not who.member then join(host, who) end
  if not door.is_kept() then await_engine(host) end
  return { unchanged = false, note = who.there and who.name .. " joins the group docker" or "installed" }
end

--- Docker on every server, then the project's hook.
--- @async
--- @param run Run
--- @param project KamalProject
function M.run(run, project)
  run:step("see to Docker", { on = project.hosts, timeout = LIMIT, run = M.docker, undo = function(host, result)
    if result and result.unchanged then return end
    local what = result and result.note or "Docker, as far as it came"
    run:log(("%s: what was installed stays (%s)"):format(host.name, what))
  end })
  hooks.once(run, project, "docker-setup")
end

return M
