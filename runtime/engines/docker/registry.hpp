// What a registry has, asked by an engine without fetching it.
#pragma once

#include <optional>
#include <string>

#include "docker/images.hpp"

namespace deployrun::docker {

/// { digest, media_type, bytes, platforms: ["linux/amd64", …] } of the manifest that the name means now, as the engine
/// finds it with these credentials (Engine API v1.30, distribution inspect). Fails as `pull` would: `docker.not_found`,
/// `docker.auth`, `docker.pull`; `docker.engine` where the engine has no such call.
Op<Json> inspect_remote_image(ClientPtr client, const std::string& image, std::optional<Credentials> credentials = {});

}  // namespace deployrun::docker
