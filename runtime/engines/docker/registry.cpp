#include "docker/registry.hpp"

#include "docker/chain.hpp"
#include "docker/shape.hpp"

namespace deployrun::docker {

namespace {

Json remote_shape(const Json& raw) {
  Json shape = {{"digest", ""}, {"media_type", ""}, {"bytes", 0}, {"platforms", Json::array()}};
  if (const auto found = raw.find("Descriptor"); found != raw.end() && found->is_object()) {
    shape["digest"] = text_at(*found, "digest");
    shape["media_type"] = text_at(*found, "mediaType");
    if (const auto size = found->find("size"); size != found->end() && size->is_number_integer())
      shape["bytes"] = *size;
  }
  if (const auto found = raw.find("Platforms"); found != raw.end() && found->is_array()) {
    for (const Json& one : *found) {
      if (!one.is_object()) continue;
      const std::string variant = text_at(one, "variant");
      shape["platforms"].push_back(text_at(one, "os") + "/" + text_at(one, "architecture") +
                                   (variant.empty() ? "" : "/" + variant));
    }
  }
  return shape;
}

}  // namespace

Op<Json> inspect_remote_image(ClientPtr client, const std::string& image, std::optional<Credentials> credentials) {
  auto reference = parse_reference(image);
  if (!reference) throw core::Failure(reference.error());
  Ask ask{.what = "look for " + image, .path = "/distribution/" + image_part(image) + "/json"};
  if (credentials) ask.headers.emplace_back("X-Registry-Auth", registry_auth(*credentials, *reference));
  return chain<Json>([client, ask, image](Chain<Json>& steps) {
    steps.any<Json>(ask_json(client, ask), [&steps, client, ask, image](core::Result<Json> answer) {
      if (answer) return steps.finish(remote_shape(*answer));
      core::Error& error = answer.error();
      if (error.details.count("status") == 0) return steps.finish(std::move(error));
      const std::string why = error.message.substr(std::min(error.message.size(), ask.what.size() + 2));
      // Podman has no such call.
      if (error.is("docker.engine") && std::get<std::int64_t>(error.details.at("status")) == 404)
        return steps.finish(std::move(error));
      auto clear = pull_error(client->host(), image, why);
      clear.details = error.details;
      steps.finish(std::move(clear));
    });
  });
}

}  // namespace deployrun::docker
