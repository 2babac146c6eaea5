// The stdlib that was compiled in (runtime/cmake/embed.cmake writes the definition).
#pragma once

#include <vector>

#include "lua/embedded.hpp"

namespace deployrun::cli {

std::vector<lua::EmbeddedFile> embedded_stdlib();

}  // namespace deployrun::cli
