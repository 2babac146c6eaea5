// Where Podman's compatible socket answers otherwise than Docker does.
#pragma once

#include <string>

#include "http/request.hpp"
#include "json/json.hpp"

namespace deployrun::docker {

/// Whether Podman gave this answer.
bool is_podman(const http::Reply& reply);

/// What Podman means where Docker says 409 or 400: it answers 500, and names the cause. The kind of the error, or
/// empty.
std::string podman_kind(const http::Reply& reply);

/// Docker lets every user of a container listen on ports below 1024, inside its own network; a container for Podman has
/// to ask for that. One that says something else of it, or that has no network of its own, is left alone.
void allow_low_ports(json::Json& create_body);

}  // namespace deployrun::docker
