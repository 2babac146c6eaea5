--- YAML files: a value, and where each part of it stands. One document, YAML 1.2 types (`yes` and `on` are text), merge
--- keys (`<<`), at most 1 MiB, 64 levels and 100,000 values after aliases are expanded; a key twice is an error.

local files = require "native.files"
local raw = require "native.yaml.raw"

local M = {}

local MAX_BYTES = 1024 * 1024

--- A value from text. Raises `yaml.parse`, `yaml.limit` or `yaml.duplicate` with `line`, `column`, `where`.
--- @param text string
--- @param options? { file?: string }  file: a name for messages and places
--- @return any value
--- @return table<string, string> places  path → "file:line:column"; `servers.web[1]`, the whole is ""
function M.decode(text, options)
  return raw.decode(text, options and options.file)
end

--- The same for a file. Raises also `files.not_found`, `files.denied`, `files.too_large`.
--- @async
--- @param path string
--- @return any value
--- @return table<string, string> places
function M.load(path)
  return raw.decode(files.read(path, { limit = MAX_BYTES + 1 }), path)
end

--- A part of a document as it was written: what its type is, is for the caller to say.
--- @class YamlNode
--- @field kind "null"|"scalar"|"sequence"|"mapping"
--- @field line integer    from 1, like the column
--- @field column integer
--- @field text? string    of a scalar, unquoted
--- @field plain? boolean  of a scalar: it has neither quotes nor a tag
--- @field tag? string     of a scalar: "int" for `!!int`
--- @field items? YamlNode[]
--- @field members? { key: string, plain: boolean, line: integer, column: integer, value: YamlNode }[]  in order

--- A document without types, for dialects that have other ones than YAML 1.2. Aliases are expanded, merge keys applied.
--- Raises as `decode` does.
--- @param text string
--- @param options? { file?: string, merge_in_order?: boolean }  merge_in_order: a `<<` overwrites keys that stand
---   before it, as in Ruby, instead of giving way to all of its mapping's own
--- @return YamlNode
function M.tree(text, options)
  options = options or {}
  return raw.tree(text, options.file, options.merge_in_order)
end

return M
