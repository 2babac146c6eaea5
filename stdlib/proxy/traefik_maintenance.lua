--- What Traefik answers in a maintenance. It has no page of its own making, so this is a plugin: a program that Traefik
--- itself interprets, from its working directory (`experimental.localPlugins`, Traefik 3; nothing is fetched). Pure.

local text = require "native.text"

local M = {}

local NAME, MODULE = "maintenance", "deployrun/maintenance"
local FOLDER = "plugins-local/src/" .. MODULE

--- Of its arguments: without this one it knows no such plugin.
M.ARGUMENT = ("--experimental.localplugins.%s.modulename=%s"):format(NAME, MODULE)

local MANIFEST = ([[
displayName: Maintenance
type: middleware
import: %s
summary: Answers 503 with a page. Written by deployrun.
testData: { Body: "" }
]]):format(MODULE)

-- The body comes in base64: Traefik takes its files for templates.
local PROGRAM = [[
// Package maintenance answers 503 with a page. Written by deployrun.
package maintenance

import (
	"context"
	"encoding/base64"
	"net/http"
)

type Config struct{ Body, Type, RetryAfter string }

func CreateConfig() *Config { return &Config{} }

func New(_ context.Context, _ http.Handler, config *Config, _ string) (http.Handler, error) {
	body, err := base64.StdEncoding.DecodeString(config.Body)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
		answer.Header().Set("Content-Type", config.Type)
		answer.Header().Set("Retry-After", config.RetryAfter)
		answer.WriteHeader(http.StatusServiceUnavailable)
		answer.Write(body)
	}), nil
}
]]

--- The plugin's files, below the working directory.
--- @type table<string, string>
M.FILES = { [FOLDER .. "/.traefik.yml"] = MANIFEST, [FOLDER .. "/maintenance.go"] = PROGRAM }

--- The middleware of a service in maintenance.
--- @param body string
--- @param html boolean  else plain text
--- @param retry_after integer  s
--- @return table
function M.middleware(body, html, retry_after)
  return { plugin = { [NAME] = { body = text.base64_encode(body), retryAfter = ("%d"):format(retry_after),
    type = (html and "text/html" or "text/plain") .. "; charset=utf-8" } } }
end

return M
