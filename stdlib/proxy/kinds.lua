--- Which proxies there are, and what each of them cannot do. Pure: settings are checked against it before a run.

local M = {}

M.DEFAULT = "kamal_proxy"

local NO_CERTIFICATES = "it gets no certificates by itself: terminate TLS in front of it"

--- plain: what it serves (names, prefixes) is written into a configuration of its own language.
--- @type table<string, { module: string, lacks: table<string, string>, plain?: boolean }>
M.all = {
  kamal_proxy = { module = "proxy.kamal_proxy",
    lacks = { retry_after = "its pages are templates of a body alone, without headers" } },
  caddy = { module = "proxy.caddy", lacks = { pause = "it has no way to hold requests" } },
  nginx = { module = "proxy.nginx", plain = true,
    lacks = { pause = "it has no way to hold requests", tls = NO_CERTIFICATES } },
  haproxy = { module = "proxy.haproxy", plain = true, lacks = { tls = NO_CERTIFICATES } },
  traefik = { module = "proxy.traefik", plain = true,
    lacks = { pause = "it has no way to hold requests",
      tls = "it is not told of certificates: terminate TLS in front of it" } },
}

--- In the order in which messages list them.
M.names = { "kamal_proxy", "caddy", "nginx", "haproxy", "traefik" }

--- Which of them settings ask for.
--- @param raw table
--- @return string
function M.of(raw)
  local kind = type(raw.proxy) == "table" and raw.proxy.kind or M.DEFAULT
  return M.all[kind] and kind or M.DEFAULT
end

return M
