--- Deploy locks of this machine, in the project's `.deployrun/`. On servers the agent keeps them, and answers the same
--- calls (runtime/engines/lock/keeper.hpp says which). A claim ends with the process that took it.

local raw = require "native.lock.raw"
local await = require("native.task").await

local M = {}

--- @class LockKeeper
local Keeper = {}
Keeper.__index = Keeper

--- @return LockKeeper
function M.here() return setmetatable({ _raw = raw.open() }, Keeper) end

--- Asks for one thing. Raises `lock.held`, `lock.lost`, `lock.not_found`, `lock.corrupt`, `lock.io`.
--- @async
--- @param method string  "lock.acquire" …
--- @param params table
--- @return any result
function Keeper:call(method, params) return await(self._raw:call((method:gsub("^lock%.", "")), params)) end

--- Ends every claim that was taken through it.
function Keeper:close() self._raw:close() end

return M
