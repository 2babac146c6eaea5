--- What git knows about the project. Uses the git that is installed; changes nothing.

local fail = require "native.fail"
local process = require "native.process"

local M = {}

-- No lock taken beside somebody else's git, no question asked, messages that can be recognised below.
local ENVIRONMENT = { GIT_OPTIONAL_LOCKS = "0", GIT_TERMINAL_PROMPT = "0", LC_ALL = "C" }

--- @class GitOptions
--- @field cwd? string  a folder inside the repository; the current one unless told

local function git(words, options)
  local argv = { "git" }
  for _, word in ipairs(words) do argv[#argv + 1] = word end
  local ok, result = pcall(process.run, argv,
    { check = false, env = ENVIRONMENT, cwd = options and options.cwd, reads = true })
  if ok then return result end
  if result.kind == "process.spawn" then
    fail.wrap("git.missing", "git cannot be run", result, { hint = "install git, or pass the version yourself" })
  end
  error(result, 0)
end

local function checked(words, options)
  local result = git(words, options)
  if result.code == 0 then return (result.stdout:gsub("%s+$", "")) end
  local complaint = result.stderr:gsub("%s+$", "")
  if complaint:find("not a git repository", 1, true) then
    fail.raise("git.repository", "this folder is in no git repository", {
      hint = "run `git init` and commit, or pass the version yourself", stderr = complaint })
  end
  if complaint:find("unknown revision", 1, true) or complaint:find("Needed a single revision", 1, true) then
    fail.raise("git.revision", "git: no such revision, or no commit yet", { hint = "commit first", stderr = complaint })
  end
  fail.raise("git.failed", "git " .. words[1] .. ": " .. complaint, { code = result.code, stderr = complaint })
end

--- The commit that is checked out: 40 hex digits. Raises `git.missing`, `git.repository`, `git.revision`, `git.failed`.
--- @async
--- @param options? GitOptions
--- @return string
function M.revision(options)
  return checked({ "rev-parse", "--verify", "HEAD" }, options)
end

--- The branch that is checked out; nil on a detached head.
--- @async
--- @param options? GitOptions
--- @return string?
function M.branch(options)
  local result = git({ "symbolic-ref", "--quiet", "--short", "HEAD" }, options)
  if result.code == 0 then return (result.stdout:gsub("%s+$", "")) end
  M.root(options) -- outside a repository this says so
  return nil
end

--- Whether there are changes that are not committed, new files included.
--- @async
--- @param options? GitOptions
--- @return boolean
function M.dirty(options)
  return checked({ "status", "--porcelain" }, options) ~= ""
end

--- The repository's folder.
--- @async
--- @param options? GitOptions
--- @return string
function M.root(options)
  return checked({ "rev-parse", "--show-toplevel" }, options)
end

return M
