#include "docker/images.hpp"

#include "core/base64.hpp"
#include "core/text.hpp"
#include "docker/frames.hpp"
#include "docker/shape.hpp"
#include "http/expect.hpp"

namespace deployrun::docker {

namespace {

std::uint64_t unsigned_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() && *found > 0 ? found->get<std::uint64_t>() : 0;
}

struct PullState {
  explicit PullState(bool podman) : meter(podman), lines([this](Json event) { take(event); }) {}
  void take(const Json& event) {
    if (!event.is_object()) return;
    if (const std::string wrong = text_at(event, "error"); !wrong.empty()) {
      error = event.contains("errorDetail") ? text_at(event["errorDetail"], "message") : std::string();
      if (error.empty()) error = wrong;
      return;
    }
    const std::string status = text_at(event, "status");
    if (status.rfind("Digest: ", 0) == 0) digest = status.substr(8);
    if (status.rfind("Status: ", 0) == 0) {
      finished = true;
      changed = status.find("up to date") == std::string::npos;
    }
    if (meter.take(event) && on_progress) on_progress(meter.sum());
  }

  std::function<void(const Progress&)> on_progress;
  ProgressMeter meter;
  std::string digest;
  std::string before;  // the image's ID, where Podman had one of that name
  std::string error;
  bool finished = false;
  bool changed = true;
  std::optional<core::Error> unreadable;
  JsonLines lines;
};

}  // namespace

core::Error pull_error(const std::string& host, const std::string& image, const std::string& why) {
  const std::string lower = core::lower(why);
  const auto has = [&](const char* word) { return lower.find(word) != std::string::npos; };
  core::Error error{.kind = "docker.pull", .message = "pull " + image + ": " + http::excerpt(why, 500), .host = host};
  if (has("unauthorized") || has("authentication required") || has("no basic auth") || has("incorrect username") ||
      has("access denied") || has("requested access to the resource is denied") || has("401")) {
    error.kind = "docker.auth";
    error.hint = "check the registry's user and password (or token), and that they may read this repository";
  } else if (has("manifest unknown") || has("not found") || has("name unknown") || has("no such image")) {
    error.kind = "docker.not_found";
    error.hint = "was this tag pushed to that registry?";
  } else if (has("server gave http response to https client")) {
    error.hint = "the registry speaks plain HTTP: the engine allows that on loopback, or for its `insecure-registries`";
  } else if (has("no space left")) {
    error.hint = "the engine's disk is full: remove old images on that host";
  }
  return error;
}

bool ProgressMeter::take(const Json& event) {
  const std::string id = text_at(event, "id");
  const std::string status = text_at(event, "status");
  if (id.empty() || status.empty() || status.rfind("Pulling from", 0) == 0) return false;
  Layer& layer = layers_[id];
  sum_.status = status;
  if (const auto detail = event.find("progressDetail");
      detail != event.end() && detail->is_object() && status == "Downloading") {
    layer.bytes = unsigned_at(*detail, "current");
    layer.total = unsigned_at(*detail, "total");
  } else if (status == "Download complete" || status == "Pull complete") {
    layer.bytes = layer.total;
    layer.done = podman_ || status == "Pull complete";
  } else if (status == "Already exists") {
    layer.done = true;
  }
  sum_.layers = static_cast<int>(layers_.size());
  sum_.done = 0;
  sum_.bytes = sum_.total_bytes = 0;
  for (const auto& [name, one] : layers_) {
    sum_.done += one.done ? 1 : 0;
    sum_.bytes += one.bytes;
    sum_.total_bytes += one.total;
  }
  return true;
}

std::string registry_auth(const Credentials& credentials, const Reference& reference) {
  const Json all = {{"username", credentials.username},
                    {"password", credentials.password},
                    {"serveraddress", credentials.registry.empty() ? reference.registry() : credentials.registry}};
  return core::base64_encode(json::dump(all), core::Base64::url, true);
}

namespace {

/// What an answer before the stream means.
core::Error unpulled(const Client& client, const Ask& ask, const std::string& image, core::Error error) {
  if (error.details.count("status") == 0) return error;
  auto clear = pull_error(client.host(), image, error.message.substr(ask.what.size() + 2));
  clear.details = error.details;
  return clear;
}

/// The stream has ended.
void pulled(Chain<Pulled>& steps, const ClientPtr& client, const Ask& ask, const std::shared_ptr<PullState>& state,
            const std::string& image) {
  if (auto last = state->lines.finish(); !last && !state->unreadable) state->unreadable = std::move(last).error();
  if (!state->error.empty()) return steps.finish(pull_error(client->host(), image, state->error));
  if (state->unreadable)
    return steps.finish(core::wrap(client->misunderstood(ask, "the progress stream"), *state->unreadable));
  if (state->finished) return steps.finish(Pulled{image, state->digest, state->changed});
  if (!client->podman())
    return steps.finish(pull_error(client->host(), image, "the engine ended the stream without a result"));
  // Podman tells neither the digest nor whether anything is new.
  steps.then<Json>(inspect_image(client, image), [&steps, state, image](const Json& here) {
    std::string digest;
    for (const Json& one : here["digests"]) {
      const std::string text = one.is_string() ? one.get<std::string>() : std::string();
      if (const std::size_t at = text.find('@'); at != text.npos) digest = text.substr(at + 1);
    }
    steps.finish(Pulled{image, digest, state->before != text_at(here, "id")});
  });
}

}  // namespace

Op<Pulled> pull(ClientPtr client, const std::string& image, std::optional<Credentials> credentials,
                std::function<void(const Progress&)> on_progress) {
  auto reference = parse_reference(image);
  if (!reference) throw core::Failure(reference.error());
  auto state = std::make_shared<PullState>(client->podman());
  state->on_progress = std::move(on_progress);
  Ask ask{.what = "pull " + image, .method = "POST", .path = "/images/create"};
  ask.query = {{"fromImage", reference->name}, {"tag", reference->digest.empty() ? reference->tag : reference->digest}};
  if (credentials) ask.headers.emplace_back("X-Registry-Auth", registry_auth(*credentials, *reference));
  ask.on_body = [state](const http::Reply&, std::string_view bytes) {
    if (!state->unreadable) {
      if (auto taken = state->lines.feed(bytes); !taken) state->unreadable = std::move(taken).error();
    }
    return http::Flow::taken;
  };
  return chain<Pulled>([client, ask, state, image](Chain<Pulled>& steps) {
    const auto fetch = [&steps, client, ask, state, image] {
      steps.any<http::Reply>(std::make_unique<Answer>(client, ask),
                             [&steps, client, ask, state, image](core::Result<http::Reply> reply) {
                               if (!reply) return steps.finish(unpulled(*client, ask, image, std::move(reply).error()));
                               pulled(steps, client, ask, state, image);
                             });
    };
    if (!client->podman()) return fetch();
    steps.any<Json>(inspect_image(client, image), [state, fetch](const core::Result<Json>& here) {
      if (here) state->before = text_at(*here, "id");
      fetch();
    });
  });
}

Op<Json> inspect_image(ClientPtr client, const std::string& image) {
  return reshaped(
      ask_json(std::move(client), {.what = "inspect image " + image, .path = "/images/" + image_part(image) + "/json"}),
      image_shape);
}

Op<Json> list_images(ClientPtr client, const std::string& reference, const std::vector<std::string>& labels,
                     bool nameless) {
  Ask ask{.what = "list images", .path = "/images/json"};
  using Texts = std::vector<std::string>;
  ask.query = {{"filters", filters({{"label", labels},
                                    {"reference", reference.empty() ? Texts() : Texts{reference}},
                                    {"dangling", nameless ? Texts{"true"} : Texts()}})}};
  return reshaped(ask_json(std::move(client), std::move(ask)), image_list_shape);
}

Op<core::Unit> tag_image(ClientPtr client, const std::string& image, const std::string& target) {
  auto reference = parse_reference(target);
  if (!reference) throw core::Failure(reference.error());
  Ask ask{.what = "tag " + image + " as " + target, .method = "POST", .path = "/images/" + image_part(image) + "/tag"};
  ask.query = {{"repo", reference->name}, {"tag", reference->tag}};
  return ask_unit(std::move(client), std::move(ask));
}

Op<Json> remove_image(ClientPtr client, const std::string& image, bool force) {
  Ask ask{.what = "remove image " + image, .method = "DELETE", .path = "/images/" + image_part(image)};
  if (force) ask.query = {{"force", "1"}};
  return reshaped(ask_json(std::move(client), std::move(ask)), [](const Json& raw) {
    Json shape = {{"untagged", Json::array()}, {"deleted", Json::array()}};
    for (const Json& one : raw) {
      if (one.contains("Untagged")) shape["untagged"].push_back(one["Untagged"]);
      if (one.contains("Deleted")) shape["deleted"].push_back(one["Deleted"]);
    }
    return shape;
  });
}

Op<std::vector<std::string>> load_images(ClientPtr client, std::shared_ptr<http::Upload> tar) {
  Ask ask{.what = "load images", .method = "POST", .path = "/images/load"};
  ask.query = {{"quiet", "1"}};
  ask.headers = {{"Content-Type", "application/x-tar"}};
  ask.upload = std::move(tar);
  using Names = std::vector<std::string>;
  return chain<Names>([client, ask](Chain<Names>& steps) {
    steps.then<http::Reply>(std::make_unique<Answer>(client, ask), [&steps, client, ask](const http::Reply& reply) {
      Names names;
      std::string wrong;
      JsonLines lines([&](const Json& event) {
        if (const std::string error = text_at(event, "error"); !error.empty()) wrong = error;
        const std::string text = text_at(event, "stream");
        for (const char* prefix : {"Loaded image: ", "Loaded image ID: "}) {
          if (text.rfind(prefix, 0) == 0)
            names.emplace_back(core::trim(std::string_view(text).substr(std::string(prefix).size())));
        }
      });
      auto read = lines.feed(reply.body);
      if (read) read = lines.finish();
      if (!read)
        return steps.finish(core::wrap(client->misunderstood(ask, "the progress stream"), std::move(read).error()));
      if (!wrong.empty()) {
        return steps.finish(core::Error{
            .kind = "docker.engine", .message = ask.what + ": " + http::excerpt(wrong, 500), .host = client->host()});
      }
      steps.finish(std::move(names));
    });
  });
}

}  // namespace deployrun::docker
