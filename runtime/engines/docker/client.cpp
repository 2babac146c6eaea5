#include "docker/client.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "core/text.hpp"
#include "docker/podman.hpp"
#include "http/expect.hpp"

namespace deployrun::docker {

namespace {

std::string engine_message(const http::Reply& reply) {
  if (const auto body = json::parse(reply.body); body && body->is_object()) {
    const auto found = body->find("message");
    if (found != body->end() && found->is_string()) return http::excerpt(found->get<std::string>(), 500);
  }
  const std::string text = http::excerpt(reply.body, 200);
  return "status " + std::to_string(reply.status) + (text.empty() ? "" : ": " + text);
}

bool mentions(std::string_view text, std::initializer_list<std::string_view> words) {
  const std::string lower = core::lower(text);
  return std::any_of(words.begin(), words.end(), [&](std::string_view word) { return lower.find(word) != lower.npos; });
}

/// The number after the "1." that follows `words`.
std::optional<int> api_after(std::string_view text, std::string_view words) {
  const std::size_t at = text.find(words);
  if (at == text.npos) return {};
  text.remove_prefix(at + words.size());
  int number = 0;
  if (text.rfind("1.", 0) != 0) return {};
  const auto [end, wrong] = std::from_chars(text.data() + 2, text.data() + text.size(), number);
  return wrong == std::errc{} ? std::optional<int>(number) : std::nullopt;
}

constexpr std::string_view kEngine = "http://docker";
constexpr std::string_view kTooOld = "Minimum supported API version is ";
constexpr std::string_view kTooNew = "Maximum supported API version is ";

}  // namespace

Client::Client(http::Client& http, Endpoint endpoint) : http_(http), endpoint_(std::move(endpoint)) {
  if (endpoint_.dial) route_ = http_.route(endpoint_.dial, endpoint_.spares);
}

http::Request Client::request(const Ask& ask) {
  ++requests_;
  http::Request request;
  request.method = ask.method;
  request.url = std::string(kEngine) + "/v1." + std::to_string(api(ask)) + ask.path;
  char separator = '?';
  for (const auto& [key, value] : ask.query) {
    request.url += separator + key + '=' + core::percent_encode(value);
    separator = '&';
  }
  request.headers = ask.headers;
  if (ask.body) {
    request.body = json::dump(*ask.body);
    request.headers.emplace_back("Content-Type", "application/json");
  }
  request.upload = ask.upload;
  request.on_body = ask.on_body;
  request.host = endpoint_.host;
  if (route_) {
    request.route = route_;
  } else {
    request.unix_socket = endpoint_.unix_socket;
  }
  return request;
}

core::Error Client::refused(const Ask& ask, const http::Reply& reply) const {
  core::Error error{.kind = "docker.engine", .host = endpoint_.host};
  const std::string why = engine_message(reply);
  error.message = ask.what + ": " + why;
  error.details["status"] = static_cast<std::int64_t>(reply.status);
  switch (reply.status) {
    case 400: error.kind = "docker.invalid"; break;
    case 401:
    case 403: error.kind = "docker.auth"; break;
    case 404: error.kind = "docker.not_found"; break;
    case 409: error.kind = "docker.conflict"; break;
    default: break;
  }
  if (std::string kind = podman_kind(reply); !kind.empty()) error.kind = std::move(kind);
  // Not of a thing, but of the address: as a web server says it that has no such page.
  if (reply.status == 404 && why.rfind("status ", 0) == 0) {
    error.kind = "docker.engine";
    error.message = ask.what + ": this engine has no such call";
  }
  if (reply.status == 400 && (api_after(why, kTooOld) || api_after(why, kTooNew))) {
    error.kind = "docker.version";
    error.hint = api_after(why, kTooNew) ? "the engine is too old for this: Docker 20.10 and later are known"
                                         : "the engine is newer than this program: update deployrun";
    if (ask.least_api > kOldest) {
      error.message = ask.what + ": needs Engine API 1." + std::to_string(ask.least_api) + ", and the engine's is 1." +
                      std::to_string(api_after(why, kTooNew).value_or(0));
    }
  }
  if (mentions(why, {"port is already allocated", "address already in use"})) {
    error.hint = "another container or program of this host uses the published port";
  } else if (mentions(why, {"is already in use by"})) {
    error.hint = "remove or rename the other container first";
  }
  return error;
}

core::Error Client::unreachable(const Ask& ask, core::Error error) const {
  if (error.is("cancelled") || error.is("usage")) return error;
  if (error.kind.rfind("http.", 0) != 0) return error;  // what an upload's source said
  core::Error outer{.kind = "docker.lost", .host = endpoint_.host};
  const std::string place = endpoint_.dial ? "the engine" : endpoint_.unix_socket;
  std::string why = "the connection to " + place + " was lost";
  if (error.is("http.connect") || error.is("http.resolve")) {
    outer.kind = "docker.connect";
    why = "no connection to " + place;
    outer.hint = "is the engine running? `systemctl status docker` on the host tells";
    const auto number = error.details.find("errno");
    if (number != error.details.end() && std::get_if<std::int64_t>(&number->second) != nullptr &&
        std::get<std::int64_t>(number->second) == EACCES) {
      outer.kind = "docker.denied";
      why = "permission denied on " + place;
      outer.hint = "add the user to the group `docker` on the host and log in again, or let the recipe use sudo";
    }
  } else if (error.is("http.protocol") || error.is("http.too_large")) {
    outer.kind = "docker.protocol";
    why = "what answered is not understood";
  }
  outer.message = ask.what + ": " + why;
  return core::wrap(std::move(outer), std::move(error));
}

void Client::tell(Trip trip, core::Instant began, const core::Result<http::Reply>& reply) const {
  if (!endpoint_.told) return;
  trip.time = std::chrono::duration_cast<core::Milliseconds>(core::Loop::now() - began);
  if (reply) {
    trip.status = reply->status;
    trip.sent = reply->sent;
    trip.received = reply->received;
  } else {
    trip.failure = reply.error().kind;
  }
  endpoint_.told(trip);
}

core::Error Client::misunderstood(const Ask& ask, const std::string& why) const {
  return {.kind = "docker.protocol",
          .message = ask.what + ": the engine's answer is not understood: " + why,
          .host = endpoint_.host};
}

bool Client::adapt(const http::Reply& reply, int asked) {
  if (reply.status != 400) return false;
  const auto oldest = api_after(engine_message(reply), kTooOld);
  if (!oldest || *oldest <= asked || *oldest > kNewest) return false;
  api_ = std::max(api_, *oldest);
  return true;
}

void Client::settle(const http::Reply& reply) {
  settled_ = true;
  if (is_podman(reply)) podman_ = true;
}

Answer::Answer(ClientPtr client, Ask ask) : client_(std::move(client)), ask_(std::move(ask)) {}

void Answer::start(Done done) { send(std::move(done)); }

void Answer::send(Done done) {
  const int asked = client_->api(ask_);
  // The call before has completed: it may go.
  http::Request request = client_->request(ask_);
  Trip trip{.method = ask_.method, .path = request.url.substr(kEngine.size())};
  call_ = std::make_unique<http::Call>(client_->http(), std::move(request));
  call_->start([this, asked, trip = std::move(trip), began = core::Loop::now(),
                done = std::move(done)](core::Result<http::Reply> reply) mutable {
    auto tell = std::move(done);  // `done` may destroy this
    client_->tell(std::move(trip), began, reply);
    if (!reply) return tell(client_->unreachable(ask_, std::move(reply).error()));
    if (!ask_.upload && client_->adapt(*reply, asked)) return send(std::move(tell));
    client_->settle(*reply);
    if ((reply->status < 200 || reply->status > 299) && reply->status != 304)
      return tell(client_->refused(ask_, *reply));
    tell(std::move(reply));
  });
}

void Answer::cancel() noexcept {
  if (call_) call_->cancel();
}

Op<Json> ask_json(ClientPtr client, Ask ask) {
  return chain<Json>([client, ask](Chain<Json>& steps) {
    steps.then<http::Reply>(std::make_unique<Answer>(client, ask), [&steps, client, ask](const http::Reply& reply) {
      if (reply.body.empty()) return steps.finish(Json());
      auto body = json::parse(reply.body);
      if (!body) return steps.finish(core::wrap(client->misunderstood(ask, "no JSON"), std::move(body).error()));
      steps.finish(std::move(*body));
    });
  });
}

Op<bool> ask_changed(ClientPtr client, Ask ask) {
  return chain<bool>([client, ask](Chain<bool>& steps) {
    steps.then<http::Reply>(std::make_unique<Answer>(client, ask),
                            [&steps](const http::Reply& reply) { steps.finish(reply.status != 304); });
  });
}

Op<core::Unit> ask_unit(ClientPtr client, Ask ask) {
  return chain<core::Unit>([client, ask](Chain<core::Unit>& steps) {
    steps.then<http::Reply>(std::make_unique<Answer>(client, ask),
                            [&steps](const http::Reply&) { steps.finish(core::Unit{}); });
  });
}

Op<core::Unit> settle(ClientPtr client) {
  return chain<core::Unit>([client](Chain<core::Unit>& steps) {
    if (client->settled()) return steps.finish(core::Unit{});
    // A list that is empty: `/_ping` itself asks for no version.
    Ask ask{.what = "ask the engine", .path = "/containers/json"};
    ask.query = {{"limit", "1"}};
    steps.then<Json>(ask_json(client, ask), [&steps](const Json&) { steps.finish(core::Unit{}); });
  });
}

Op<std::string> ping(ClientPtr client) {
  return chain<std::string>([client](Chain<std::string>& steps) {
    steps.then<http::Reply>(std::make_unique<Answer>(client, Ask{.what = "ping the engine", .path = "/_ping"}),
                            [&steps](const http::Reply& reply) {
                              const std::string* version = http::find_header(reply.headers, "Api-Version");
                              steps.finish(version != nullptr ? *version : std::string());
                            });
  });
}

Op<Json> version(ClientPtr client) {
  return ask_json(std::move(client), {.what = "ask the engine's version", .path = "/version"});
}

Op<Json> info(ClientPtr client) {
  return ask_json(std::move(client), {.what = "ask about the engine", .path = "/info"});
}

std::string name_part(const std::string& name) {
  const auto allowed = [](unsigned char byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '_' || byte == '.' || byte == '-';
  };
  if (name.empty() || name.front() == '.' || !std::all_of(name.begin(), name.end(), allowed)) {
    throw core::Failure(
        core::usage("`" + http::excerpt(name, 60) + "` cannot be a name for the engine: letters, digits, _ . -"));
  }
  return name;
}

std::string filters(const std::vector<std::pair<std::string, std::vector<std::string>>>& wanted) {
  Json all = Json::object();
  for (const auto& [key, values] : wanted) {
    if (!values.empty()) all[key] = values;
  }
  return json::dump(all);
}

}  // namespace deployrun::docker
