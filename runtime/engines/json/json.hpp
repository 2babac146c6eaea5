// The one JSON value of the program, read with limits: what arrives here was written by servers and by people.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/result.hpp"

namespace deployrun::json {

using Json = nlohmann::json;

struct Limits {
  std::size_t bytes = 16U << 20U;
  std::size_t depth = 64;
  std::size_t nodes = 1'000'000;
};

/// RFC 8259 with UTF-8 checked; a key twice in one object is an error. `source` (a file, an address) opens the message.
/// Kind `json.parse`, details `line`, `column` (both from 1; column in bytes) and `source`: `config.json:3:7: …`.
core::Result<Json> parse(std::string_view text, const Limits& limits = {}, std::string_view source = {});

/// Compact, or with two spaces per level. Invalid UTF-8 becomes U+FFFD; never throws for what a value holds.
std::string dump(const Json& value, bool pretty = false);

}  // namespace deployrun::json
