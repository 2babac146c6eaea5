--- A server closed to all that it does not offer: SSH by key alone, a firewall (nftables), upgrades by itself. Each way
--- in is closed only while another one is known to work: a second connection is opened before and after each change,
--- and until it is there the server itself takes the change back after a minute, in case nobody reaches it any more.

local fail = require "native.fail"
local hosts_module = require "deploy.host"
local options_module = require "deploy.options"
local task = require "native.task"
local text = require "native.text"

local M = {}
--- @class Harden
local Harden = {}
Harden.__index = Harden

local SPEC = { open = { "table" }, upgrades = { "boolean" } }
local PROVE = 15000  -- ms until a second login has to work; the server waits for a minute
local RULES = "/etc/deployrun/firewall.nft"

--- @class HardenOptions
--- @field open? integer[]     ports that anybody may reach, beside SSH's own; 80 and 443 unless told
--- @field upgrades? boolean   security upgrades are installed by the server itself; true unless told

--- @class HardenLook  what a server has; recorded
--- @field sudo boolean
--- @field ports integer[]     SSH's own
--- @field ssh boolean         it takes keys alone
--- @field config string       /etc/ssh/sshd_config
--- @field own string          our file beside it; "": none
--- @field rules string        our firewall's; "": none
--- @field loaded boolean      it is in force
--- @field systemd boolean
--- @field unit string         what loads it when the server starts; "": none
--- @field enabled boolean     it does
--- @field nft boolean         nftables is there

local OWN = [[
# Written by deployrun: keys alone. What comes first counts (sshd_config(5)).
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
]]
local INCLUDE = "Include /etc/ssh/sshd_config.d/00-deployrun.conf\n"

local LOOK = [[
PATH=$PATH:/usr/sbin:/sbin
echo "uid $(id -u)"
s=; [ "$(id -u)" = 0 ] || s='sudo -n'
$s true || exit 8
said=$($s sshd -T) || exit 9
printf '%s\n' "$said" | grep -iE '^(port|passwordauthentication|kbdinteractiveauthentication) '
command -v nft >/dev/null && echo 'nft yes'
$s nft list table inet deployrun >/dev/null 2>&1 && echo 'loaded yes'
[ -d /run/systemd/system ] && echo 'systemd yes'
$s systemctl is-enabled --quiet deployrun-firewall.service 2>/dev/null && echo 'enabled yes'
exit 0]]

local READ = 'if [ -e "$1" ]; then cat -- "$1"; fi'  -- what cannot be read is not taken for empty

-- Shell of all that changes. Takes the change back by itself unless `disarm` comes in time.
local FUNCTIONS = [[
PATH=$PATH:/usr/sbin:/sbin
arm() { : >"/run/deployrun-$1.$$.armed"
  setsid sh -c 'sleep 60; [ ! -e "$0" ] || { rm -f "$0"; eval "$1"; }' "/run/deployrun-$1.$$.armed" "$2" \
    </dev/null >/dev/null 2>&1 & }
disarm() { rm -f "/run/deployrun-$1".*.armed; }
reload='if [ -d /run/systemd/system ]; then systemctl reload ssh || systemctl reload sshd
  else kill -HUP "$(cat /run/sshd.pid)"; fi'
ssh_back='PATH=$PATH:/usr/sbin:/sbin; cd /etc/ssh && [ -f deployrun.before ] || exit 0
  if [ -f deployrun.own ]; then mv -f deployrun.own sshd_config.d/00-deployrun.conf
  else rm -f sshd_config.d/00-deployrun.conf; fi
  mv -f deployrun.before sshd_config; '$reload
rules_back='PATH=$PATH:/usr/sbin:/sbin; cd /etc/deployrun 2>/dev/null && [ -f before.nft ] || exit 0
  if [ -s before.nft ]; then mv -f before.nft firewall.nft; nft -f firewall.nft
  else rm -f before.nft firewall.nft; nft delete table inet deployrun; fi'
]]

-- $1: our file, $2: the line that includes it.
local CLOSE_SSH = [[
set -e
cd /etc/ssh
mkdir -p sshd_config.d
[ -f deployrun.before ] || { cp -p sshd_config deployrun.before
  [ ! -f sshd_config.d/00-deployrun.conf ] || cp -p sshd_config.d/00-deployrun.conf deployrun.own; }
arm ssh "$ssh_back"
printf '%s' "$1" >sshd_config.d/00-deployrun.conf
if sshd -T | grep -qiE '^(password|kbdinteractive)authentication yes'; then
  { printf '%s' "$2"; cat deployrun.before; } >sshd_config.new
  chmod --reference=deployrun.before sshd_config.new && mv -f sshd_config.new sshd_config
fi
sshd -t
eval "$reload"]]

local CLOSE_PORTS = [[
set -e
mkdir -p /etc/deployrun
cd /etc/deployrun
[ -f before.nft ] || { [ ! -f firewall.nft ] || cp firewall.nft before.nft; touch before.nft; }
printf '%s' "$1" >next.nft
nft --check --file next.nft
arm rules "$rules_back"
mv -f next.nft firewall.nft
nft --file firewall.nft]]

-- Early, without the default dependencies: where cloud-init is, sysinit.target waits for the network, and a unit that
-- waits for sysinit.target but goes before the network closes a circle, out of which systemd drops one. The
-- distribution's own unit (nftables.service) empties all tables when it starts: ours comes after it, and again with it.
local UNIT = [[
[Unit]
Description=Firewall of deployrun
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
After=nftables.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f /etc/deployrun/firewall.nft
ExecReload=/usr/sbin/nft -f /etc/deployrun/firewall.nft
[Install]
WantedBy=sysinit.target
]]
local UNIT_FILE = "/etc/systemd/system/deployrun-firewall.service"

local KEEP_PORTS = [[
disarm rules
rm -f /etc/deployrun/before.nft
[ -d /run/systemd/system ] || { echo 'no systemd: load /etc/deployrun/firewall.nft when it starts'; exit 0; }
set -e
printf '%s' "$1" >/etc/systemd/system/deployrun-firewall.service
systemctl daemon-reload
systemctl reenable --quiet deployrun-firewall.service
systemctl start deployrun-firewall.service]]

local UPGRADES = [[
set -e
f=/etc/apt/apt.conf.d/20auto-upgrades
command -v apt-get >/dev/null || { echo 'no apt here'; exit 0; }
if ! dpkg -s unattended-upgrades >/dev/null 2>&1; then
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq unattended-upgrades >/dev/null
fi
done=
[ "$(cat "$f" 2>/dev/null)" = "$1" ] || { printf '%s\n' "$1" >"$f"; done=yes; }
for timer in apt-daily.timer apt-daily-upgrade.timer; do  # what reads the file
  [ -d /run/systemd/system ] || break
  if systemctl is-enabled --quiet "$timer" && systemctl is-active --quiet "$timer"; then continue; fi
  systemctl enable --quiet --now "$timer"
  done=yes
done
[ -z "$done" ] || echo installed]]
local PERIODIC = 'APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "1";'

--- The rules: what is offered, what was asked for, and nothing else; also of ports that Docker publishes.
--- @param ports integer[]  sorted
--- @return string
function M.rules(ports)
  return ([[
# Written by deployrun.
table inet deployrun {}
delete table inet deployrun
table inet deployrun {
  chain input {
    type filter hook input priority -10; policy drop;
    ct state established,related accept
    iifname { "lo", "docker0" } accept
    iifname "br-*" accept
    meta l4proto { icmp, ipv6-icmp } accept
    udp sport 67 udp dport 68 accept
    udp sport 547 udp dport 546 accept
    tcp dport { %s } accept
  }
  chain forward {
    type filter hook forward priority -10; policy accept;
    iifname { "lo", "docker0" } accept
    iifname "br-*" accept
    ct state established,related accept
    meta l4proto { tcp, udp } ct status dnat ct original proto-dst != { %s } drop
  }
}
]]):format(table.concat(ports, ", "), table.concat(ports, ", "))
end

--- @param options? HardenOptions
--- @return Harden
function M.new(options)
  options = options_module.check(options or {}, SPEC, "deploy.harden")
  local open = options.open or { 80, 443 }
  for _, port in ipairs(open) do
    if type(port) ~= "number" or port ~= math.floor(port) or port < 1 or port > 65535 then
      fail.usage(("deploy.harden: %s is no port"):format(tostring(port)), { token = tostring(port) })
    end
  end
  return setmetatable({ open = open, upgrades = options.upgrades ~= false }, Harden)
end

local function run(host, look, script, ...)
  local argv = { "sh", "-c", FUNCTIONS .. script, "sh", ... }
  if look.sudo then
    table.insert(argv, 1, "sudo")
    table.insert(argv, 2, "-n")
  end
  return host:exec(argv).stdout
end

local function read(host, look, path)
  local argv = { "sh", "-c", READ, "sh", path }
  if look.sudo then argv = { "sudo", "-n", unpack(argv) } end
  return host:exec(argv, { reads = true }).stdout
end

--- What LOOK prints. Raises `harden.denied`, `harden.missing`.
local function looked(host)
  local found = host:exec({ "sh", "-c", LOOK }, { reads = true, check = false })
  if found.code == 0 then return found.stdout end
  local said = text.clean(found.stderr):match("([^\r\n]+)%s*$") or ("exit code %s"):format(tostring(found.code))
  if found.code == 8 then
    local who = (host._spec or {}).user or "who logs in"
    fail.raise("harden.denied", ("%s may not become root: %s"):format(who, said), { host = host.name,
      hint = ("log in as root; or, by `visudo -f /etc/sudoers.d/deployrun`: %s ALL=(root) NOPASSWD: ALL"):format(who) })
  end
  fail.raise("harden.missing", ("the settings of the SSH server cannot be read: %s"):format(said),
    { host = host.name, hint = "sshd -T" })
end

--- What a server has. Raises `harden.denied` where the user is not root and may not become it by sudo without a
--- password, `harden.missing` where no OpenSSH server tells its settings.
--- @async
--- @param host Host
--- @return HardenLook
function Harden:look(host)
  local look, ports, said = { ports = {}, nft = false, loaded = false, sudo = true }, {}, {}
  for line in looked(host):gmatch("[^\n]+") do
    local key, value = line:lower():match("^(%S+) (.*)$")
    if key == "port" then ports[#ports + 1] = tonumber(value) end
    said[key or ""] = value
  end
  look.ports, look.sudo, look.nft, look.loaded = ports, said.uid ~= "0", said.nft == "yes", said.loaded == "yes"
  look.config = read(host, look, "/etc/ssh/sshd_config")
  look.own = read(host, look, "/etc/ssh/sshd_config.d/00-deployrun.conf")
  look.rules = read(host, look, RULES)
  look.systemd, look.enabled = said.systemd == "yes", said.enabled == "yes"
  look.unit = look.systemd and read(host, look, UNIT_FILE) or ""
  look.ssh = said.passwordauthentication == "no" and said.kbdinteractiveauthentication == "no" and look.own == OWN
  return look
end

--- Opens a connection of its own, with a key as always, and closes it. A server that reads its settings anew does not
--- listen for a moment. Raises `harden.unproved`.
--- @async
--- @param host Host
--- @return { note: string }
function Harden:prove(host)
  local spec = {}
  for key, value in pairs(host._spec) do spec[key] = value end
  spec.name = host.name .. " (second login)"
  local second, deadline = hosts_module.host(spec), task.now() + PROVE
  while true do
    local ok, err = pcall(second.exec, second, { "true" }, { reads = true, timeout = "10s" })
    second:close()
    if ok then return { note = "a second login works" } end
    if task.cancellation() then error(err, 0) end
    if task.now() > deadline then
      fail.wrap("harden.unproved", ("no second login to %s"):format(host.name), err, { host = host.name,
        hint = "what was changed is taken back, by the server itself within a minute if need be" })
    end
    task.sleep(200)
  end
end

--- Lets nobody in by password.
--- @async
--- @param host Host
--- @param look HardenLook
--- @return { unchanged: boolean?, note: string? }
function Harden:close_passwords(host, look)
  if look.ssh then return { unchanged = true } end
  run(host, look, CLOSE_SSH, OWN, INCLUDE)
  self:prove(host)
  run(host, look, "disarm ssh; rm -f /etc/ssh/deployrun.own /etc/ssh/deployrun.before")
  return { note = "keys alone" }
end

--- Takes that back.
--- @async
--- @param host Host
--- @param look HardenLook
function Harden:open_passwords(host, look)
  if look.ssh then return end
  local undo = [[
cd /etc/ssh
disarm ssh
printf '%s' "$1" >sshd_config.new && chmod --reference=sshd_config sshd_config.new && mv -f sshd_config.new sshd_config
if [ -n "$2" ]; then printf '%s' "$2" >sshd_config.d/00-deployrun.conf
else rm -f sshd_config.d/00-deployrun.conf; rmdir sshd_config.d 2>/dev/null; fi
rm -f deployrun.own deployrun.before
eval "$reload"]]
  run(host, look, undo, look.config, look.own)
end

--- The ports that stay open there, sorted.
function Harden:_ports(host, look)
  local seen, out = {}, {}
  for _, list in ipairs { look.ports, self.open, { host._spec.port } } do
    for _, port in ipairs(list) do
      if not seen[port] then out[#out + 1] = port end
      seen[port] = true
    end
  end
  table.sort(out)
  return out
end

-- Whether these rules are in force, and will be after the server's next start.
local function settled(look, rules)
  return look.loaded and look.rules == rules and (not look.systemd or (look.enabled and look.unit == UNIT))
end

--- Lets nobody reach other ports than those that are offered.
--- @async
--- @param host Host
--- @param look HardenLook
--- @return { unchanged: boolean?, note: string? }
function Harden:close_ports(host, look)
  local rules = M.rules(self:_ports(host, look))
  if settled(look, rules) then return { unchanged = true } end
  if not look.nft then
    fail.raise("harden.missing", "nftables is not there", { host = host.name, hint = "apt-get install nftables" })
  end
  run(host, look, CLOSE_PORTS, rules)
  self:prove(host)
  local said = run(host, look, KEEP_PORTS, UNIT):gsub("%s+$", "")
  local open = table.concat(self:_ports(host, look), ", ")
  return { note = ("open: %s%s"):format(open, said ~= "" and "; " .. said or "") }
end

--- Takes that back.
--- @async
--- @param host Host
--- @param look HardenLook
function Harden:open_ports(host, look)
  if settled(look, M.rules(self:_ports(host, look))) then return end
  local undo = [[
disarm rules
mkdir -p /etc/deployrun && cd /etc/deployrun || exit
rm -f before.nft next.nft
if [ -n "$1" ]; then printf '%s' "$1" >firewall.nft && nft -f firewall.nft
else
  rm -f firewall.nft; rmdir /etc/deployrun 2>/dev/null
  nft delete table inet deployrun 2>/dev/null
fi
if [ -d /run/systemd/system ]; then
  unit=deployrun-firewall.service
  if [ -n "$2" ]; then printf '%s' "$2" >"/etc/systemd/system/$unit"
  else systemctl disable --quiet --now "$unit" 2>/dev/null; rm -f "/etc/systemd/system/$unit"; fi
  systemctl daemon-reload
fi
true]]
  run(host, look, undo, look.rules, look.unit)
end

--- Has the server install security upgrades by itself (Debian, Ubuntu).
--- @async
--- @param host Host
--- @param look HardenLook
--- @return { unchanged: boolean?, note: string? }
function Harden:upgrade_by_itself(host, look)
  if not self.upgrades then return { unchanged = true, note = "not wanted" } end
  local said = text.clean(run(host, look, UPGRADES, PERIODIC)):gsub("%s+$", "")
  return { unchanged = said ~= "installed", note = said ~= "" and said or nil }
end

return M
