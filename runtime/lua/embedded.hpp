// The stdlib as compiled in by runtime/cmake/embed.cmake: the files' bytes, unchanged.
#pragma once

#include <string_view>
#include <vector>

namespace deployrun::lua {

struct EmbeddedFile {
  std::string_view path;  ///< "deploy/run.lua"
  std::string_view source;
};

}  // namespace deployrun::lua
