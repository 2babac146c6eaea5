--- Other hosts over SSH: one session per host, many commands, files and streams over it. Host keys are always checked.

local raw = require "native.ssh.raw"
local door = require "native.door"
local fail = require "native.fail"
local task = require "native.task"
local text = require "native.text"
local await = task.await

local M = {}

--- @class SshOptions
--- @field port? integer
--- @field user? string
--- @field identity? string|string[]    private key files, offered before the agent's other keys
--- @field identity_data? (string|Secret)[]  private keys that lie in no file, offered before those
--- @field passphrase? string|Secret    for encrypted ones
--- @field identities_only? boolean     of the agent's keys only those of the identity files
--- @field agent? string                the agent's socket; "" for none; default: as OpenSSH (SSH_AUTH_SOCK)
--- @field known_hosts? string|string[] instead of OpenSSH's files; "accept-new" writes to the first
--- @field host_keys? "strict"|"accept-new"  what becomes of a host that nobody knows; a changed key is always refused
--- @field connect_timeout? string      default "15s"
--- @field jump? string|string[]        hosts to go through, "user@bastion:22", the nearest first; "none": none
--- @field proxy_command? string        as in ssh_config(5); "none": none. Default of both: OpenSSH's configuration
--- @field ssh_config? boolean|string   false: leave ~/.ssh/config aside; a path: read that one instead

--- @class SshResult
--- @field stdout string
--- @field stderr string
--- @field code integer     128 + n where signal n ended it
--- @field signal? string   "KILL" …
--- @field ms number

--- @class SshExecOptions
--- @field stdin? string|Secret
--- @field env? table<string, string|Secret>  secrets travel by stdin and are seen by nobody on the host
--- @field output_limit? integer  bytes of both outputs together; default 8 MiB; more ends the command
--- @field keep_output? boolean   false: only `lines` gets it, without a limit
--- @field lines? SshLines        see `M.lines`
--- @field reads? boolean         it changes nothing there, so that a plan runs it
--- @field planned? string        what it is taken to print in a plan that does not run it
--- @field tell? string           its lines are reported as output of the host of this name

--- @class SshPutOptions
--- @field mode? string           octal, such as "0644"; default: the replaced file's, else "0644"
--- @field owner? string          "user" or "user:group"; default: the replaced file's where we may
--- @field make_parents? boolean  missing folders above it are made

--- @class SshUploadOptions: SshPutOptions
--- @field on_progress? fun(progress: SshProgress)  some ten times a second; may wait

--- @class SshFolderOptions
--- @field owner? string          "user" or "user:group" of all that is sent; default: the login user
--- @field make_parents? boolean  missing folders above it are made
--- @field replace? boolean       the folder there gives way as a whole, in one moment; otherwise files are added to it
--- @field on_progress? fun(progress: SshProgress)  some ten times a second; may wait

--- @class SshProgress
--- @field bytes integer
--- @field total_bytes integer

--- @class SshLine
--- @field output "stdout"|"stderr"
--- @field text string

--- @class SshLines
local Lines = {}
Lines.__index = Lines

--- The next line of output, as soon as it is there; nil at the end.
--- @async
--- @return SshLine?
function Lines:next()
  return await(self._raw:next())
end

--- A place for a command's lines: given to `exec` as `lines` in one task, read with `next` in another.
--- @return SshLines
function M.lines()
  return setmetatable({ _raw = raw.lines() }, Lines)
end

--- @class SshSession
--- @field name string   the host as it was given, without user and port
--- @field host? string  how its owner calls the host
local Session = {}
Session.__index = Session

local function connect_options(host, options)
  local given = {}
  for key, value in pairs(options or {}) do given[key] = value end
  given.host = host
  given.connect_timeout = text.duration_option(given.connect_timeout, "connect_timeout")
  if type(given.identity) == "string" then given.identity = { given.identity } end
  if type(given.jump) == "table" then given.jump = table.concat(given.jump, ",") end
  if type(given.known_hosts) == "string" then given.known_hosts = { given.known_hosts } end
  if type(given.ssh_config) == "string" then
    given.ssh_config_file, given.ssh_config = given.ssh_config, nil
  end
  return given
end

--- Connects, checks who the host is and proves who we are. Raises `ssh.resolve`, `ssh.connect`, `ssh.handshake`,
--- `ssh.host_unknown`, `ssh.host_changed`, `ssh.host_revoked`, `ssh.auth`, `ssh.config`.
--- @async
--- @param host string            "10.0.0.5", "deploy@web-1:2222", "[::1]:22", an alias of ~/.ssh/config
--- @param options? SshOptions
--- @return SshSession
function M.connect(host, options)
  local session = await(raw.connect(connect_options(host, options)))
  return setmetatable({ _raw = session, name = session:host() }, Session)
end

--- @class SshScannedKey
--- @field type string         "ssh-ed25519"
--- @field fingerprint string  "SHA256:…"
--- @field blob string         base64, as known_hosts has it
--- @field verdict "known"|"unknown"|"changed"|"other_type"|"revoked"  by the known_hosts files as they are
--- @field place string        the line behind the verdict, "file:line", or ""

--- The keys that a host shows, of every type it has. Nobody vouches for them: compare the fingerprints. Raises
--- `ssh.resolve`, `ssh.connect`, `ssh.handshake`, `ssh.config`.
--- @async
--- @param host string
--- @param options? SshOptions
--- @return { name: string, address: string, server: string, files: string[], keys: SshScannedKey[] }
function M.scan(host, options)
  return await(raw.scan(connect_options(host, options)))
end

--- Adds a key to a known_hosts file, made with mode 0600 where it is missing. Raises `ssh.config`.
--- @async
--- @param file string
--- @param name string    as `scan` gives it: "10.0.0.7", "[10.0.0.7]:2222"
--- @param key SshScannedKey
function M.pin(file, name, key)
  await(raw.pin(file, name, key.blob))
end

--- Runs a command to its end. An exit code other than 0 is a result. Cancelled (a timeout too), the remote process is
--- ended: TERM, KILL after two seconds. Raises `ssh.exec`, `ssh.output_limit`, `ssh.channel`, `ssh.lost`, `ssh.closed`.
--- @async
--- @param command string[]|string  words that no shell ever splits; a string is run by `sh -c`
--- @param options? SshExecOptions
--- @return SshResult
function Session:exec(command, options)
  local given = door.own_options(options)
  if options and options.lines then
    given = {}
    for key, value in pairs(door.own_options(options)) do given[key] = value end
    given.lines = options.lines._raw
  end
  return await(self._raw:exec(command, given))
end

--- Awaits what `start` makes of the options, while a task of its own hands its progress to `on_progress`.
local function with_progress(options, name, start)
  local on_progress = options and options.on_progress
  if not on_progress then return await(start(options)) end
  local native = {}
  for key, value in pairs(options) do native[key] = value end
  native.on_progress, native.progress = nil, raw.progress()
  local operation = start(native)
  local reader = task.spawn(function()
    for progress in function() return await(native.progress:next()) end do on_progress(progress) end
  end, { name = "progress of " .. name })
  local result = await(operation)
  task.join(reader)
  return result
end

--- Sends a local file; it replaces the remote one in one moment, after both ends agreed on its SHA-256. One above 16
--- MiB goes over several channels, and where the connection was lost in the middle the next `upload` of the same file
--- goes on there. Raises `ssh.file`, `ssh.transfer`, `ssh.directory`.
--- @async
--- @param from string  local path
--- @param to string    remote path; relative ones begin at the login user's home
--- @param options? SshUploadOptions
--- @return { bytes: integer, mode: string, ms: number }
function Session:upload(from, to, options)
  return with_progress(options, from, function(native) return self._raw:upload(from, to, native) end)
end

--- Sends a local folder with all that is in it, as one tar stream: thousands of small files cost what their bytes do.
--- Modes and symlinks travel, owners do not; nothing there changes before everything has arrived. Raises `ssh.file`,
--- `ssh.transfer`.
--- @async
--- @param from string  local folder
--- @param to string    remote folder; relative ones begin at the login user's home
--- @param options? SshFolderOptions
--- @return { files: integer, bytes: integer, ms: number }
function Session:upload_folder(from, to, options)
  return with_progress(options, from, function(native) return self._raw:upload_folder(from, to, native) end)
end

--- Writes bytes to a remote file; it replaces the old one in one moment. Raises `ssh.transfer`, `ssh.directory`.
--- @async
--- @param bytes string|Secret
--- @param to string
--- @param options? SshPutOptions
--- @return { bytes: integer, mode: string, ms: number }
function Session:write(bytes, to, options)
  return await(self._raw:write(bytes, to, options))
end

--- Fetches a remote file, with its permission bits; it replaces the local one in one moment, after both ends agreed on
--- its SHA-256 (on its size where the host has no tool for that). What came of one above 16 MiB before the connection
--- was lost is kept beside it, and the next `download` of the same file goes on there. Raises `ssh.not_found`,
--- `ssh.directory`, `ssh.transfer`, `ssh.file`.
--- @async
--- @param from string  remote path
--- @param to string    local path
--- @param options? { on_progress?: fun(progress: SshProgress) }
--- @return { bytes: integer, mode: string, ms: number }
function Session:download(from, to, options)
  return with_progress(options, from, function(native) return self._raw:download(from, to, native) end)
end

--- Fetches a folder with all that is in it, as one tar stream. Modes (up to 0777), times and symlinks travel, owners do
--- not; nothing here changes before everything has arrived. Names and links that lead out of the folder, devices and
--- more than `limit` bytes are refused. Raises `ssh.not_found`, `ssh.transfer`, `ssh.file`.
--- @async
--- @param from string  remote folder
--- @param to string    local folder
--- @param options? { replace?: boolean, limit?: integer, on_progress?: fun(progress: SshProgress) }  replace: the
---   folder here gives way as a whole, in one moment; otherwise files are added to it; limit: bytes, default 16 GiB
--- @return { files: integer, bytes: integer, ms: number }
function Session:download_folder(from, to, options)
  return with_progress(options, from, function(native) return self._raw:download_folder(from, to, native) end)
end

--- A small remote file. Raises `ssh.not_found`, `ssh.directory`, `ssh.output_limit`, `ssh.transfer`.
--- @async
--- @param path string
--- @param options? { limit?: integer }  bytes; default 8 MiB
--- @return string bytes
function Session:read(path, options)
  return await(self._raw:read(path, options))
end

local function failed(session, what, result)
  fail.raise("ssh.transfer", what .. " on " .. session.name .. ": " .. text.clean(result.stderr),
    { host = session.name, code = result.code, stderr = result.stderr })
end

--- What a script of ours says, or nil where no shell runs it: SFTP serves then.
local function by_shell(session, argv, options)
  if session._raw:without_shell() then return nil end
  local ok, result = pcall(session.exec, session, argv, options)
  if ok and result.code ~= 127 then return result end
  if not ok and result.kind ~= "ssh.exec" then error(result, 0) end
  return nil
end

--- What is there, or nil. A symlink is not followed. Without a shell there, over SFTP.
--- @async
--- @param path string
--- @return { type: "file"|"directory"|"symlink"|"other", size: integer, mode: string, user: string, group: string }?
function Session:stat(path)
  local script = '[ -e "$1" ] || [ -L "$1" ] || exit 94; exec stat -c "%s %a %U %G %F" -- "$1"'
  local result = by_shell(self, { "sh", "-c", script, "sh", path }, { reads = true })
  if not result then return await(self._raw:sftp_stat(path)) end
  if result.code == 94 then return nil end
  local size, mode, user, group, kind = result.stdout:match("^(%d+) (%d+) (%S+) (%S+) ([^\n]*)")
  if result.code ~= 0 or not size then
    failed(self, "stat " .. path, result)
  end
  local types = { directory = "directory", ["symbolic link"] = "symlink" }
  return { type = kind:find("^regular") and "file" or types[kind] or "other", size = tonumber(size),
    mode = ("%04d"):format(mode), user = user, group = group }
end

--- Removes a file, a symlink or an empty directory; with `recursive` all in it. True when it was there.
--- @async
--- @param path string
--- @param options? { recursive?: boolean }
--- @return boolean removed
function Session:remove(path, options)
  local recursive = options and options.recursive or false
  local how = 'if [ -d "$1" ] && [ ! -L "$1" ]; then exec rmdir -- "$1"; else exec rm -f -- "$1"; fi'
  if recursive then how = 'exec rm -rf -- "$1"' end
  local result = by_shell(self, { "sh", "-c", '[ -e "$1" ] || [ -L "$1" ] || exit 94; ' .. how, "sh", path })
  if not result then return await(self._raw:sftp_remove(path, recursive)) end
  if result.code == 94 then return false end
  if result.code ~= 0 then
    failed(self, "remove " .. path, result)
  end
  return true
end

--- A dial to a unix socket of that host, for `docker` and `http`. A refusal shows when it is used, as
--- `ssh.forwarding_refused`: forbidden by the server, or nobody listens there.
--- @param path string
--- @return userdata dial
function Session:dial_unix(path)
  return self._raw:dial_unix(path)
end

--- A dial to a TCP port as that host reaches it. Raises at use `ssh.forwarding_refused`, `ssh.forward_connect`.
--- @param host string
--- @param port integer
--- @return userdata dial
function Session:dial_tcp(host, port)
  return self._raw:dial_tcp(host, port)
end

--- A dial to a command's stdin and stdout (`docker system dial-stdio`). A code other than 0 is `ssh.exec` at its end.
--- @param command string[]|string
--- @param options? { lasting?: boolean }  lasting: it is there as long as the connection, nobody waits for its end
--- @return userdata dial
function Session:dial_exec(command, options)
  return self._raw:dial_exec(command, options and options.lasting)
end

--- Says that so many commands follow soon, one after the other: once a way to something there has been opened, a
--- channel for each goes ahead of further ways. Does not wait.
--- @param count integer
function Session:prepare_commands(count)
  self._raw:prepare_commands(count)
end

--- A shell there, or a program, in the terminal that this program was started in: keys, colours, window size. Returns
--- when it has ended. Raises `terminal.missing`, `ssh.pty`, `ssh.exec`, `ssh.lost`, `ssh.closed`.
--- @async
--- @param command? string[]|string  default: the account's own shell
--- @return { code: integer, signal: string? }
function Session:shell(command)
  return await(self._raw:shell(command))
end

--- @class SshForward
--- @field address string  where it listens, with the port that was chosen
local Forward = {}
Forward.__index = Forward

--- What went through it: connections so far, how many are open, how many failed, and the last reason.
--- @return { connections: integer, open: integer, failed: integer, last_error: string? }
function Forward:stats()
  return self._raw:stats()
end

--- It listens no more, and what goes through it ends. May be called again. The session's end does the same.
function Forward:close()
  self._raw:close()
end

local function forward_of(native)
  return setmetatable({ _raw = native, address = native:address() }, Forward)
end

--- Listens on this machine; what connects comes out on that host. An end is "host:port", a port of 127.0.0.1, or the
--- path of a Unix socket (made with mode 0600, removed at the end). Port 0 chooses a free one. It lasts as long as the
--- returned object or until `close`. Raises `ssh.forward_listen`; refusals of the host are in `stats`.
--- @param listen string|integer  on this machine
--- @param to string|integer      as that host reaches it
--- @return SshForward
function Session:forward_local(listen, to)
  return forward_of(self._raw:forward_local(tostring(listen), tostring(to)))
end

--- Listens on that host; what connects there comes out on this machine. Ends are as in `forward_local`, but the host
--- listens on a port only. Raises `ssh.forward_listen`, `ssh.lost`, `ssh.closed`.
--- @async
--- @param listen string|integer  on that host; another address than 127.0.0.1 needs its GatewayPorts
--- @param to string|integer      as this machine reaches it
--- @return SshForward
function Session:forward_remote(listen, to)
  return forward_of(await(self._raw:forward_remote(tostring(listen), tostring(to))))
end

--- False once the connection is lost or closed.
--- @return boolean
function Session:alive()
  return self._raw:alive()
end

--- How often an answer was waited for, and the bytes both ways, since the connection began.
--- @return { round_trips: integer, bytes_in: integer, bytes_out: integer }
function Session:stats()
  return self._raw:stats()
end

--- Says goodbye; whatever still runs over it fails with `ssh.closed`. May be called again.
function Session:close()
  self._raw:close()
end

door.guard("ssh", Session, {
  reads = { "read", "stat" },
  free = { "dial_unix", "dial_tcp", "dial_exec", "prepare_commands", "forward_local", "forward_remote", "alive",
    "stats", "close" },
})

return M
