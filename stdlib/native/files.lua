--- Files of this machine. Writing is atomic: readers see the old file or the new one. Every error is `files.not_found`,
--- `files.denied`, `files.too_large` or `files.io` and carries `path`.

local await = require("native.task").await
local door = require "native.door"
local fail = require "native.fail"
local raw = require "native.files.raw"

local M = {}

local READ_LIMIT = 16 * 1024 * 1024

local function permission_bits(mode, name)
  if mode == nil then return nil end
  if type(mode) ~= "string" or not mode:match("^[0-7][0-7][0-7][0-7]?$") then
    fail.usage(name .. ": mode must be a string such as \"0644\", got " .. tostring(mode), { token = "mode" })
  end
  return tonumber(mode, 8)
end

--- The whole file.
--- @async
--- @param path string
--- @param options? { limit?: integer }  limit: bytes, 16 MiB unless told
--- @return string bytes
function M.read(path, options)
  return await(raw.read(path, options and options.limit or READ_LIMIT))
end

--- Replaces the file at once, by a new one beside it; a symlink is replaced, not followed.
--- @async
--- @param path string
--- @param bytes string|Secret
--- @param options? { mode?: string, parents?: boolean }  mode: "0600" unless told; parents: make missing folders
function M.write(path, bytes, options)
  options = options or {}
  await(raw.write(path, bytes, permission_bits(options.mode, "files.write") or 384, options.parents))
end

--- @class FileStat
--- @field type "file"|"directory"|"symlink"|"other"
--- @field size integer      bytes
--- @field mode string       "0644"
--- @field uid integer
--- @field gid integer
--- @field modified integer  seconds since 1970, UTC

--- What is at that path, a symlink not followed; nil when there is nothing.
--- @async
--- @param path string
--- @return FileStat?
function M.stat(path)
  return await(raw.stat(path))
end

--- @async
--- @param path string
--- @return boolean
function M.exists(path)
  return M.stat(path) ~= nil
end

--- Removes a file, a symlink or an empty folder; with `recursive` a folder and all in it. False when there was nothing.
--- @async
--- @param path string
--- @param options? { recursive?: boolean }
--- @return boolean removed
function M.remove(path, options)
  return await(raw.remove(path, options and options.recursive))
end

--- Makes a folder and what is missing above it. False when it was there.
--- @async
--- @param path string
--- @param options? { mode?: string }  "0755" unless told
--- @return boolean made
function M.mkdir(path, options)
  return await(raw.mkdir(path, permission_bits(options and options.mode, "files.mkdir") or 493))
end

--- What is in a folder, sorted by name.
--- @async
--- @param path string
--- @return { name: string, type: "file"|"directory"|"symlink"|"other" }[]
function M.list(path)
  return await(raw.list(path))
end

door.guard("files", M, { reads = { "read", "stat", "exists", "list" } })

return M
