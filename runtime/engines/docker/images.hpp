// Images: pull with progress, inspect, tag, list, remove, load.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "docker/client.hpp"
#include "docker/reference.hpp"

namespace deployrun::docker {

/// For one request; never stored on a server, never in an error.
struct Credentials {
  std::string username;
  std::string password;
  std::string registry;  ///< the image's own when empty
};

/// How far a pull is, over all layers.
struct Progress {
  int layers = 0;
  int done = 0;                   ///< layers that are here
  std::uint64_t bytes = 0;        ///< downloaded
  std::uint64_t total_bytes = 0;  ///< of the layers whose size is known by now
  std::string status;             ///< the engine's own word for what it does
};

/// Adds up the engine's progress events.
class ProgressMeter {
 public:
  /// `podman`: it is done with a layer when that is downloaded, and does not say so again.
  explicit ProgressMeter(bool podman = false) : podman_(podman) {}
  /// True when the sum has changed.
  bool take(const Json& event);
  const Progress& sum() const noexcept { return sum_; }

 private:
  struct Layer {
    std::uint64_t bytes = 0, total = 0;
    bool done = false;
  };
  bool podman_;
  std::map<std::string, Layer> layers_;
  Progress sum_;
};

struct Pulled {
  std::string image;    ///< as asked for
  std::string digest;   ///< of the manifest, "sha256:…"; empty where the engine told none
  bool changed = true;  ///< false: it was up to date
};

/// `on_progress` is called from inside the operation, for every change. Fails with `docker.pull`, `docker.auth`,
/// `docker.not_found`, whatever answer the engine chose for it.
Op<Pulled> pull(ClientPtr client, const std::string& image, std::optional<Credentials> credentials = {},
                std::function<void(const Progress&)> on_progress = {});

/// { id, tags[], digests[], created, bytes, os, architecture, labels{}, env{}, cmd[], entrypoint[], user, workdir,
/// ports[],
///   stop_signal, healthcheck, raw }
Op<Json> inspect_image(ClientPtr client, const std::string& image);
/// [{ id, tags[], digests[], created (seconds), bytes, labels{} }]; `labels` as "name" or "name=value".
Op<Json> list_images(ClientPtr client, const std::string& reference = {}, const std::vector<std::string>& labels = {},
                     bool nameless = false);
Op<core::Unit> tag_image(ClientPtr client, const std::string& image, const std::string& target);
/// { untagged[], deleted[] }. `docker.conflict` while a container uses it and `force` is false.
Op<Json> remove_image(ClientPtr client, const std::string& image, bool force = false);
/// A tar stream as `docker save` makes it, plain or compressed. What was loaded: ["name:tag", …].
Op<std::vector<std::string>> load_images(ClientPtr client, std::shared_ptr<http::Upload> tar);

/// What a registry would not give, as `docker.not_found`, `docker.auth` or `docker.pull`. A pull fails in three ways
/// (an answer before the stream, an event in a 200 stream, a stream that ends early); all become one error. What the
/// registry said decides the kind, since the engine's statuses do not tell.
core::Error pull_error(const std::string& host, const std::string& image, const std::string& why);

/// The value of X-Registry-Auth.
std::string registry_auth(const Credentials& credentials, const Reference& reference);

}  // namespace deployrun::docker
