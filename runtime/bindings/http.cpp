// `native.http.raw`: requests, probes, waiting for health, the observer. Defaults and time limits are the face's.
#include "http/call.hpp"

#include <cmath>

#include "bindings/context.hpp"
#include "bindings/dial.hpp"
#include "bindings/secret.hpp"
#include "bindings/value.hpp"
#include "core/text.hpp"
#include "http/observer.hpp"
#include "http/probe.hpp"
#include "http/wait_healthy.hpp"
#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/object.hpp"
#include "lua/operation.hpp"
#include "lua/options.hpp"
#include "lua/stack.hpp"
#include "report/reporter.hpp"

namespace deployrun::bindings {

namespace {
int observer_snapshot(lua_State* L);
int observer_stop(lua_State* L);
int close_observer(lua_State* L);
int close_route(lua_State* L);
}  // namespace

/// A route and whose server it leads to.
struct HttpRoute {
  std::shared_ptr<http::Route> route;
  std::string host;
};

}  // namespace deployrun::bindings

namespace deployrun::lua {

template <>
struct ObjectType<http::Observer> {
  static constexpr const char* kName = "http.observer";
  static constexpr luaL_Reg kMethods[] = {{"snapshot", bindings::observer_snapshot},
                                          {"stop", bindings::observer_stop},
                                          {"close", bindings::close_observer},
                                          {nullptr, nullptr}};
};

template <>
struct ObjectType<bindings::HttpRoute> {
  static constexpr const char* kName = "http.route";
  static constexpr luaL_Reg kMethods[] = {{"close", bindings::close_route}, {nullptr, nullptr}};
};

}  // namespace deployrun::lua

namespace deployrun::bindings {

namespace {

/// Leaves { status, headers (lower-case names), body, url, redirect, ms, reused }.
void push_reply(lua_State* L, const http::Reply& reply) {
  lua_createtable(L, 0, 7);
  lua::set_field(L, "status", static_cast<double>(reply.status));
  lua::set_field(L, "body", reply.body);
  lua::set_field(L, "url", reply.url);
  if (!reply.redirect.empty()) lua::set_field(L, "redirect", reply.redirect);
  lua::set_field(L, "ms", reply.ms);
  lua::set_flag(L, "reused", reply.reused);
  std::map<std::string, std::string> headers;
  for (const auto& [name, value] : reply.headers) {
    std::string& joined = headers[core::lower(name)];
    joined += (joined.empty() ? "" : ", ") + value;
  }
  lua::push_string_map(L, headers);
  lua_setfield(L, -2, "headers");
  if (reply.tls_days) lua::set_field(L, "tls_days", *reply.tls_days);
}

/// A reply with `ok` and, where it is not as expected, `reason`.
void push_probed(lua_State* L, const http::Probed& probed) {
  push_reply(L, probed.reply);
  lua::set_flag(L, "ok", !probed.unmet);
  if (probed.unmet) lua::set_field(L, "reason", *probed.unmet);
}

/// A reply with `attempts`, `waited_ms` and `history`.
void push_healthy(lua_State* L, const http::Healthy& healthy) {
  push_reply(L, healthy.reply);
  lua::set_field(L, "attempts", static_cast<double>(healthy.attempts));
  lua::set_field(L, "waited_ms", healthy.ms);
  lua::set_field(L, "history", healthy.history);
}

void push_observation(lua_State* L, const http::Observation& seen) {
  lua_createtable(L, 0, 11);
  lua::set_field(L, "requests", static_cast<double>(seen.requests));
  lua::set_field(L, "failures", static_cast<double>(seen.failures));
  lua::set_field(L, "reused", static_cast<double>(seen.reused));
  lua::set_field(L, "ms", seen.ms);
  lua::set_field(L, "longest_gap_ms", seen.longest_gap_ms);
  lua::set_field(L, "gap_at_ms", seen.gap_at_ms);
  lua::set_field(L, "p50_ms", seen.p50_ms);
  lua::set_field(L, "p99_ms", seen.p99_ms);
  lua::set_field(L, "max_ms", seen.max_ms);
  lua_newtable(L);
  for (const auto& [status, count] : seen.by_status) {
    lua::set_field(L, std::to_string(status).c_str(), static_cast<double>(count));
  }
  lua_setfield(L, -2, "by_status");
  lua_newtable(L);
  int place = 0;
  for (const auto& failure : seen.first_failures) {
    lua_createtable(L, 0, 4);
    lua::set_field(L, "at_ms", failure.at_ms);
    lua::set_field(L, "status", static_cast<double>(failure.status));
    lua::set_field(L, "reason", failure.reason);
    lua::set_flag(L, "fresh", failure.fresh);
    lua_rawseti(L, -2, ++place);
  }
  lua_setfield(L, -2, "first_failures");
}

http::Headers headers_option(lua_State* L, lua::Options& options) {
  http::Headers headers;
  for (auto& [name, value] : secret_map(L, options, "headers").value_or(std::map<std::string, std::string>())) {
    headers.emplace_back(name, std::move(value));
  }
  return headers;
}

/// What every kind of request takes.
http::Request check_request(lua_State* L, lua::Options& options) {
  http::Request request;
  request.url = check_secret_or_string(L, 1);
  request.method = options.string("method").value_or("GET");
  request.headers = headers_option(L, options);
  request.body = secret_or_string(L, options, "body").value_or("");
  request.verify = options.boolean("verify").value_or(true);
  request.ca_file = options.string("ca_file").value_or("");
  request.connect_to = options.string("connect_to").value_or("");
  request.unix_socket = options.string("unix_socket").value_or("");
  if (options.push("route")) {
    const auto route = lua::check_object<HttpRoute>(L, -1);
    request.route = route->route;
    request.host = route->host;
  }
  lua_pop(L, 1);
  if (auto host = options.string("host")) request.host = std::move(*host);
  return request;
}

/// What the request must bring along for it is asked of `wanted`.
http::Expectation check_expectation(lua_State* L, lua::Options& options, http::Request& wanted) {
  http::Expectation expectation;
  const bool given = options.push("expect");
  if (given) {
    lua::Options expect(L, -1, "http: expect");
    if (const auto status = expect.string("status")) {
      auto ranges = http::parse_status(*status);
      if (!ranges) throw core::Failure(ranges.error());
      expectation.status = std::move(*ranges);
    }
    expectation.body_contains = expect.string("body").value_or("");
    expectation.headers = headers_option(L, expect);
    if (expect.push("json")) {
      const Json fields = to_json(L, lua_gettop(L), "expect.json");
      if (!fields.is_object()) throw core::Failure(core::usage("http: expect.json must map fields to values"));
      for (const auto& [path, value] : fields.items()) expectation.fields.emplace_back(path, value);
    }
    lua_pop(L, 1);
    expectation.tls_days = expect.number("tls_days");
    wanted.certificate = expectation.tls_days.has_value();
    expect.finish();
  }
  lua_pop(L, 1);
  return expectation;
}

int request(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 2, "http.request");
    http::Request wanted = check_request(L, options);
    if (const auto limit = options.integer("max_body")) {
      wanted.max_body = static_cast<std::size_t>(std::max<std::int64_t>(*limit, 0));
    }
    wanted.max_redirects = static_cast<long>(options.integer("redirects").value_or(0));
    wanted.fresh = options.boolean("fresh").value_or(false);
    wanted.proxy_from_environment = options.boolean("proxy").value_or(true);
    options.milliseconds("timeout");  // the face's business; known here, so that a misspelt one finds its hint
    options.finish();
    std::unique_ptr<core::Operation<http::Reply>> call =
        std::make_unique<http::Call>(context(L).http, std::move(wanted));
    return lua::push_operation(L, std::move(call), push_reply);
  });
}

int probe(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 2, "http.probe");
    http::Request wanted = check_request(L, options);
    wanted.fresh = options.boolean("fresh").value_or(false);
    http::Expectation expectation = check_expectation(L, options, wanted);
    options.milliseconds("timeout");  // as above
    options.finish();
    std::unique_ptr<core::Operation<http::Probed>> one =
        std::make_unique<http::Probe>(context(L).http, std::move(wanted), std::move(expectation));
    return lua::push_operation(L, std::move(one), push_probed);
  });
}

/// `probe.failed` events: each new outcome at once, the same one again four times a second at most.
auto told_failures(report::Reporter& reporter, const http::Request& wanted) {
  static constexpr core::Milliseconds kPause{250};
  return [&reporter, host = wanted.host.empty() ? std::string("local") : wanted.host, url = http::shown_url(wanted.url),
          last = std::string(),
          told = core::Instant()](std::uint64_t attempt, const std::string& outcome, double ms) mutable {
    const auto now = core::Loop::now();
    if (outcome == last && now - told < kPause) return;
    last = outcome;
    told = now;
    reporter.emit({{"type", "probe.failed"},
                   {"host", host},
                   {"url", url},
                   {"attempt", attempt},
                   {"outcome", outcome},
                   {"ms", std::llround(ms)}});
  };
}

int wait_healthy(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 2, "http.wait_healthy");
    http::Request wanted = check_request(L, options);
    wanted.fresh = options.boolean("fresh").value_or(false);
    http::Expectation expectation = check_expectation(L, options, wanted);
    http::Patience patience;
    patience.interval = options.milliseconds("interval").value_or(patience.interval);
    patience.max_interval =
        std::max(patience.interval, options.milliseconds("max_interval").value_or(patience.max_interval));
    patience.attempt_timeout = options.milliseconds("timeout").value_or(patience.attempt_timeout);
    patience.within = options.milliseconds("within");
    patience.successes = static_cast<int>(std::clamp<std::int64_t>(options.integer("successes").value_or(1), 1, 1000));
    options.finish();
    patience.on_failure = told_failures(context(L).reporter, wanted);
    std::unique_ptr<core::Operation<http::Healthy>> wait = std::make_unique<http::WaitHealthy>(
        context(L).http, std::move(wanted), std::move(expectation), std::move(patience));
    return lua::push_operation(L, std::move(wait), push_healthy);
  });
}

int observe(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 2, "http.observe");
    http::Request wanted = check_request(L, options);
    http::Expectation expectation = check_expectation(L, options, wanted);
    http::ObserverOptions pace;
    pace.rate = options.number("rate").value_or(pace.rate);
    pace.fresh = std::clamp(options.number("fresh").value_or(pace.fresh), 0.0, 1.0);
    pace.timeout = options.milliseconds("timeout").value_or(pace.timeout);
    options.finish();
    if (auto wrong = http::check(wanted)) throw core::Failure(std::move(*wrong));
    lua::push_object(
        L, std::make_shared<http::Observer>(context(L).http, std::move(wanted), std::move(expectation), pace));
    return 1;
  });
}

int observer_snapshot(lua_State* L) {
  return lua::guard(L, [L] {
    push_observation(L, lua::check_object<http::Observer>(L, 1)->snapshot());
    return 1;
  });
}

int observer_stop(lua_State* L) {
  return lua::guard(
      L, [L] { return lua::push_operation(L, lua::check_object<http::Observer>(L, 1)->stop(), push_observation); });
}

int close_observer(lua_State* L) { return lua::close_object<http::Observer>(L); }
int close_route(lua_State* L) { return lua::close_object<HttpRoute>(L); }

/// The connections of one dial, kept and reused among the requests that are given this route.
int route(lua_State* L) {
  return lua::guard(L, [L] {
    const auto dialer = lua::check_object<Dialer>(L, 1);
    lua::push_object(L, std::make_shared<HttpRoute>(HttpRoute{context(L).http.route(dialer->dial), dialer->host}));
    return 1;
  });
}

constexpr luaL_Reg kFunctions[] = {{"request", request}, {"probe", probe}, {"wait_healthy", wait_healthy},
                                   {"observe", observe}, {"route", route}, {nullptr, nullptr}};

}  // namespace

int open_http(lua_State* L) { return lua::export_table(L, kFunctions); }

}  // namespace deployrun::bindings
