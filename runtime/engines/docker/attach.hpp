// The input and output of a container as one stream (Engine API v1.41, "Attach to a container").
#pragma once

#include <string>

#include "core/stream.hpp"

namespace deployrun::docker {

/// A dial to the standard input and output of a container that has no terminal, through `engine`, a dial to its
/// engine's socket. Attach before the container starts, or what it says first is lost. The end of its output is the
/// stream's; what it says on its standard error is dropped. `docker.attach` where the engine refuses.
core::Dial attach(core::Dial engine, const std::string& container, const std::string& host);

}  // namespace deployrun::docker
