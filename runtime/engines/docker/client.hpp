// One engine and how it is asked: paths, versions, what an answer that is no success means. What is asked is the
// business of images.hpp, containers.hpp, networks.hpp and volumes.hpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/loop.hpp"
#include "core/stream.hpp"
#include "docker/chain.hpp"
#include "http/call.hpp"
#include "http/client.hpp"
#include "json/json.hpp"

namespace deployrun::docker {

using json::Json;

/// One question as it went out and how it ended, for whoever watches. Neither headers nor bodies: credentials are
/// there.
struct Trip {
  std::string method;
  std::string path;  ///< with version and query
  int status = 0;    ///< 0: no answer
  core::Milliseconds time{};
  std::uint64_t sent = 0, received = 0;  ///< bytes of the bodies, where an answer came
  std::string failure;                   ///< why there is no answer: an error's kind
};

/// Where the engine listens: a socket of this machine, or whatever `dial` opens.
struct Endpoint {
  std::string unix_socket = "/var/run/docker.sock";
  core::Dial dial;         ///< used instead of the socket when set
  std::size_t spares = 0;  ///< connections dialled ahead: for dials that cost a round trip and no process
  std::string host;        ///< whose engine it is (Error::host); may be empty
  std::function<void(const Trip&)> told{};  ///< hears of each call when it has ended; may be empty
};

/// One question to the engine.
struct Ask {
  std::string what;  ///< "start web-1": how errors and plans name it
  std::string method = "GET";
  std::string path;  ///< "/containers/web-1/start", parts already encoded
  std::vector<std::pair<std::string, std::string>> query{};
  std::optional<Json> body{};
  http::Headers headers{};
  std::shared_ptr<http::Upload> upload{};
  std::function<http::Flow(const http::Reply&, std::string_view)> on_body{};
  int least_api = 0;  ///< the number after "1." from which on engines know what is asked
};

/// Speaks the Engine API of Docker 20.10 and later and of Podman's compatible socket. A question is put in the oldest
/// version that both sides know and that has what it asks for: what all engines answer alike. An engine that has given
/// up ours says which its oldest is, and is asked again in that. Connections are kept alive; several requests may be in
/// flight, each on a connection of its own. Shared by the operations that use it.
///
/// Error kinds of all operations: `docker.connect` (no engine there), `docker.denied` (the socket refuses this user),
/// `docker.lost` (the connection broke), `docker.not_found`, `docker.conflict`, `docker.invalid` (the engine refuses
/// the request), `docker.auth` (the registry refuses the credentials), `docker.pull`, `docker.engine` (the engine
/// failed), `docker.protocol` (not understood), `docker.version` (an API that one side does not know), `usage`,
/// `cancelled`. Details: `status` where the engine answered.
class Client {
 public:
  // Engine API 1.x that we know: Docker 20.10 to 29.
  static constexpr int kOldest = 41;
  static constexpr int kNewest = 52;

  Client(http::Client& http, Endpoint endpoint);
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  const std::string& host() const noexcept { return endpoint_.host; }
  /// Round trips so far.
  std::uint64_t requests() const noexcept { return requests_; }

  /// Where the engine listens.
  const Endpoint& endpoint() const noexcept { return endpoint_; }
  http::Client& http() noexcept { return http_; }
  http::Request request(const Ask& ask);
  core::Error refused(const Ask& ask, const http::Reply& reply) const;
  /// The version a question goes out in, as the number after "1.".
  int api(const Ask& ask) const noexcept { return std::max(api_, ask.least_api); }
  /// Whether `reply` says that version `asked` is older than the engine's oldest, and that one is known to us: ask
  /// again.
  bool adapt(const http::Reply& reply, int asked);
  /// An engine has answered us: a body that can be sent only once is safe from a refusal of the version.
  bool settled() const noexcept { return settled_; }
  void settle(const http::Reply& reply);
  /// Whether it is Podman, once it has answered anything.
  bool podman() const noexcept { return podman_; }
  core::Error unreachable(const Ask& ask, core::Error error) const;
  /// Tells the watcher.
  void tell(Trip trip, core::Instant began, const core::Result<http::Reply>& reply) const;
  core::Error misunderstood(const Ask& ask, const std::string& why) const;

 private:
  http::Client& http_;
  Endpoint endpoint_;
  std::shared_ptr<http::Route> route_;
  std::uint64_t requests_ = 0;
  int api_ = kOldest;
  bool settled_ = false;
  bool podman_ = false;
};

using ClientPtr = std::shared_ptr<Client>;

/// Any 2xx or 304 is the reply, the rest an Error.
class Answer final : public core::Operation<http::Reply> {
 public:
  Answer(ClientPtr client, Ask ask);
  void start(Done done) override;
  void cancel() noexcept override;
  void resume() {
    if (call_) call_->resume();
  }

 private:
  void send(Done done);

  ClientPtr client_;
  Ask ask_;
  std::unique_ptr<http::Call> call_;
};

/// As Answer, the body read as JSON; null for an empty one.
Op<Json> ask_json(ClientPtr client, Ask ask);
/// As Answer; false for 304 «not modified».
Op<bool> ask_changed(ClientPtr client, Ask ask);
Op<core::Unit> ask_unit(ClientPtr client, Ask ask);

/// Before a body that can be sent only once: makes sure that the version is agreed on.
Op<core::Unit> settle(ClientPtr client);

/// The engine is there: its API version ("1.41").
Op<std::string> ping(ClientPtr client);
/// As the engine gives them (it forks helpers for these: some 4 ms).
Op<Json> version(ClientPtr client);
Op<Json> info(ClientPtr client);

/// A name as part of a path. Throws Failure (`usage`) for what no container, network or volume can be called.
std::string name_part(const std::string& name);
/// `{"label":["a=b"]}` for the query of a list.
std::string filters(const std::vector<std::pair<std::string, std::vector<std::string>>>& wanted);

}  // namespace deployrun::docker
