--- Which proxies there are, and what each of them cannot do. Pure: settings are checked against it before a run.

local M = {}

M.DEFAULT = "kamal_proxy"

local NO_CERTIFICATES = "it gets no certificates by itself: terminate TLS in front of it"

--- plain: what it serves (names, prefixes) is written into a configuration of its own language.
--- @type table<string, { module: string, lacks: table<string, string>, plain?: boolean }>
M.all = {
  kamal_proxy = { module = "proxy.kamal_proxy", lacks = {} },
  caddy = { module = "proxy.caddy", lacks = { pause = "it has no way to hold requests" } },
  nginx = { module = "proxy.nginx", plain = true,
    lacks = { pause = "it has no way to hold requests", tls = NO_CERTIFICATES } },
  haproxy = { module = "proxy.haproxy", plain = true, lacks = { tls = NO_CERTIFICATES } },
}

--- In the order in which messages list them.
M.names = { "kamal_proxy", "caddy", "nginx", "haproxy" }

return M
