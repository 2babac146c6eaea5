--- The stdlib's own files as texts: what its documentation is made of.

local raw = require "native.stdlib.raw"

local M = {}

--- The files, sorted: "deploy.lua", "deploy/app.lua".
--- @return string[]
M.files = raw.files

--- The text of one; nil where there is none.
--- @param name string
--- @return string?
M.source = raw.source

return M
