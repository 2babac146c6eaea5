--- Raising errors as records: `{ kind, message, host, step, hint, cause }` plus what the kind carries (docs/errors.md).

local raw = require "native.fail.raw"

local M = {}

local function record(kind, message, fields)
  local err = {}
  for key, value in pairs(fields or {}) do err[key] = value end
  err.kind, err.message = kind, message
  return err
end

--- Raises an error.
--- @param kind string      `room.what`
--- @param message string   what was tried, on what, what came back, in one line
--- @param fields? table    hint, host, step, cause, and details
function M.raise(kind, message, fields)
  raw.raise(record(kind, message, fields))
end

--- Raises `usage`: the caller's mistake; gets the place of the nearest line outside the stdlib.
--- @param message string
--- @param fields? table  hint; `token`: the word that is wrong, for its column
function M.usage(message, fields)
  raw.raise(record("usage", message, fields))
end

--- An error that is not raised (yet).
--- @param kind string
--- @param message string
--- @param fields? table
--- @return table error
function M.make(kind, message, fields)
  return raw.make(record(kind, message, fields))
end

--- Whatever was raised, as an error table.
--- @param value any
--- @return table error
M.normal = raw.normal

--- Whether a failure, or one that it came from, is of a kind.
--- @param err any  as it was raised
--- @param kind string
--- @return boolean
function M.comes_from(err, kind)
  while type(err) == "table" do
    if err.kind == kind then return true end
    err = err.cause
  end
  return false
end

--- Raises `outer` with `cause` kept below it.
--- @param kind string
--- @param message string
--- @param cause any
--- @param fields? table
function M.wrap(kind, message, cause, fields)
  local err = record(kind, message, fields)
  err.cause = raw.normal(cause)
  err.host = err.host or err.cause.host
  raw.raise(err)
end

--- "file:line" of the nearest caller outside the stdlib: the recipe's line; nil where there is none.
--- @return string? where
M.where = raw.where

--- Where in a line of a file a word stands.
--- @param path string
--- @param line integer
--- @param word string
--- @return integer? column
M.column = raw.column

return M
