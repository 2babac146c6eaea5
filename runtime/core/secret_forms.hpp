// In which other shapes a secret may come back to us: what programs print when they encode, escape or quote it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace deployrun::core {

/// All forms of `value` (itself first) of at least `shortest` bytes, without duplicates. The caller wipes them.
/// Raw, trimmed, each line; base64 at three alignments in both alphabets and in lines of 64 and 76 characters; hex;
/// percent- encoded as the usual libraries do; the insides of JSON, YAML and shell strings.
std::vector<std::string> secret_forms(std::string_view value, std::size_t shortest);

}  // namespace deployrun::core
