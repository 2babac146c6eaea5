#include "server.hpp"

#include <poll.h>
#include <sqlite3.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/duration.hpp"
#include "core/text.hpp"
#include "json/error.hpp"

namespace deployrun::agent {

namespace {

constexpr core::Milliseconds kOrderlyEnd{2000};

core::Instant now() { return std::chrono::steady_clock::now(); }

int milliseconds_until(core::Instant instant) {
  const auto left = std::chrono::ceil<core::Milliseconds>(instant - now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
}

const Json* member(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

}  // namespace

Server::Server(core::Milliseconds lease) : lease_(lease) {
  [[maybe_unused]] const int ignored = ::pipe(broken_.data());
  output_ = std::make_unique<Output>(STDOUT_FILENO, broken_[1]);
}

int Server::run() {
  const int code = read_all();
  end();
  return code;
}

int Server::read_all() {
  std::vector<char> piece(64U << 10U);
  core::Instant heard = now();
  for (;;) {
    core::Instant until = std::min(heard + lease_, end_late(now()));
    std::array<pollfd, 2> wanted{{{STDIN_FILENO, POLLIN, 0}, {broken_[0], POLLIN, 0}}};
    const int ready = ::poll(wanted.data(), wanted.size(), milliseconds_until(until));
    // Looked at before what has come: an agent that was frozen may not go on because its peer did not know it.
    if (now() >= heard + lease_) return kLeaseOver;
    if (ready < 0 && errno != EINTR) return kEnded;
    if (ready <= 0) continue;
    if (wanted[1].revents != 0) return kEnded;
    if (wanted[0].revents == 0) continue;
    const ssize_t count = ::read(STDIN_FILENO, piece.data(), piece.size());
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count <= 0) return kEnded;
    heard = now();
    take({piece.data(), static_cast<std::size_t>(count)});
  }
}

void Server::take(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    if (!too_long_) open_ += bytes.substr(0, end);
    if (open_.size() > kLongestRequest) {
      too_long_ = true;
      open_.clear();
      open_.shrink_to_fit();
      refuse(nullptr, protocol_error("a line is longer than " + std::to_string(kLongestRequest) + " bytes"));
    }
    if (end == std::string_view::npos) return;
    if (!too_long_) take_line(std::exchange(open_, {}));
    too_long_ = false;
    bytes.remove_prefix(end + 1);
  }
}

void Server::take_line(std::string_view line) {
  auto message = parse_request(line);
  if (!message) return refuse(nullptr, message.error());
  if (!message->is_object()) return refuse(nullptr, protocol_error("a request is an object"));
  if (const Json* beat = member(*message, "beat"); beat != nullptr && beat->is_number_integer()) {
    return output_->push(json::dump(Json{{"beat", *beat}}), false);
  }
  take_request(*message);
}

void Server::take_request(const Json& message) {
  const Json* id = member(message, "id");
  const Json* method = member(message, "method");
  if (id == nullptr || !id->is_number_integer()) return refuse(nullptr, protocol_error("a request without an id"));
  if (method == nullptr || !method->is_string()) return refuse(*id, protocol_error("a request without a method"));
  auto request = std::make_shared<Request>();
  request->id = id->get<std::int64_t>();
  request->method = core::clean(method->get<std::string>().substr(0, 80));
  if (const Json* params = member(message, "params")) request->params = *params;
  if (const Json* limit = member(message, "timeout_ms")) {
    constexpr std::int64_t kLongest = 366LL * 24 * 3600 * 1000;
    if (!limit->is_number_integer() || limit->get<std::int64_t>() < 0 || limit->get<std::int64_t>() > kLongest) {
      return refuse(*id, protocol_error("timeout_ms must be a number of milliseconds"));
    }
    request->deadline = now() + core::Milliseconds(limit->get<std::int64_t>());
  }
  if (request->method == "hello") return finish(request, hello(request->params));
  if (request->method == "cancel") {
    cancel(request->params);
    return finish(request, Json(true));
  }
  begin(request);
}

void Server::begin(const std::shared_ptr<Request>& request) {
  {
    const std::lock_guard lock(mutex_);
    if (running_.count(request->id) != 0) return refuse(request->id, protocol_error("an id that is in use"));
    if (running_.size() >= static_cast<std::size_t>(kMostRequests)) {
      return refuse(request->id, protocol_error("too many requests at a time"));
    }
    running_[request->id] = request;
  }
  try {
    // Not joined: `end` waits for what is in `running_`, and after that the process ends.
    std::thread([this, request] {
      finish(request, requests_.answer(request->method, request->params, request->cancellation));
    }).detach();
  } catch (const std::system_error& failure) {
    finish(request, core::Error{.kind = "internal", .message = std::string("deployrun-agent: ") + failure.what()});
  }
}

void Server::finish(const std::shared_ptr<Request>& request, core::Result<Json> result) {
  Json answer{{"id", request->id}};
  if (result) {
    answer["result"] = std::move(*result);
  } else {
    answer["error"] = json::to_json(result.error());
  }
  std::string line = json::dump(answer);
  if (line.size() > kLongestAnswer) {
    const core::Error error{.kind = "sqlite.too_large",
                            .message = "the answer to " + request->method + " has more than 64 MiB",
                            .hint = "ask for less: LIMIT, or an aggregate"};
    line = json::dump(Json{{"id", request->id}, {"error", json::to_json(error)}});
  }
  const bool is_worker = [&] {
    const std::lock_guard lock(mutex_);
    return running_.count(request->id) != 0 && running_[request->id] == request;
  }();
  output_->push(std::move(line), is_worker);
  const std::lock_guard lock(mutex_);
  if (is_worker) running_.erase(request->id);
  ended_.notify_all();
}

void Server::refuse(const Json& id, const core::Error& error) {
  output_->push(json::dump(Json{{"id", id}, {"error", json::to_json(error)}}), false);
}

core::Result<Json> Server::hello(const Json& params) const {
  const Json* wanted = params.is_object() ? member(params, "protocol") : nullptr;
  if (wanted == nullptr || *wanted != kProtocol) {
    return protocol_error("speaks protocol " + std::to_string(kProtocol) + " alone");
  }
  struct utsname system {};
  ::uname(&system);
  const auto wall = std::chrono::system_clock::now().time_since_epoch();
  return Json{{"protocol", kProtocol},
              {"version", DEPLOYRUN_VERSION},
              {"arch", system.machine},
              {"sqlite", sqlite3_libversion()},
              {"pid", ::getpid()},
              {"lease_ms", lease_.count()},
              {"now_ms", std::chrono::duration_cast<core::Milliseconds>(wall).count()}};
}

void Server::cancel(const Json& params) {
  const Json* id = params.is_object() ? member(params, "id") : nullptr;
  if (id == nullptr || !id->is_number_integer()) return;
  std::shared_ptr<Request> found;
  {
    const std::lock_guard lock(mutex_);
    const auto there = running_.find(id->get<std::int64_t>());
    if (there != running_.end()) found = there->second;
  }
  if (found) found->cancellation.cancel(core::cancelled());
}

/// Ends the requests whose time is up; when the next one's is.
core::Instant Server::end_late(core::Instant at) {
  core::Instant next = core::Instant::max();
  const std::lock_guard lock(mutex_);
  for (const auto& [id, request] : running_) {
    if (request->cancellation.stop()) continue;
    if (request->deadline <= at) {
      request->cancellation.cancel({.kind = "timeout", .message = request->method + ": not done in time"});
    } else {
      next = std::min(next, request->deadline);
    }
  }
  return next;
}

void Server::end() {
  std::unique_lock lock(mutex_);
  for (const auto& [id, request] : running_) request->cancellation.cancel(core::cancelled());
  // What does not end by itself (a disk that hangs) ends with the process, and the kernel frees what it held.
  if (ended_.wait_for(lock, kOrderlyEnd, [this] { return running_.empty(); })) requests_.close_all();
}

}  // namespace deployrun::agent
