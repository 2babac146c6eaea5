// The options of a container that are one key, one flag and one field of the request, as a table: what reads a
// description, what asks the engine and what writes the command go through it, so an option is one line here.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "docker/spec.hpp"

namespace deployrun::docker {

struct SpecOption {
  template <class T>
  using In = T ContainerSpec::*;
  using Member =
      std::variant<In<bool>, In<std::string>, In<std::vector<std::string>>, In<std::map<std::string, std::string>>,
                   In<std::uint64_t>, In<std::optional<std::int64_t>>, In<std::map<std::string, std::uint64_t>>>;
  /// Whose field it is; `by_hand`: spec_body.cpp's, the engine's form is another.
  enum class Place { config, host, by_hand };

  const char* key;    ///< in a recipe
  const char* flag;   ///< of `docker run`
  const char* field;  ///< of the request
  Member member;      ///< its type says how it is read: bytes are unsigned, counts are optional
  Place place = Place::host;
  /// Of texts: what they may be, "host|container:*"; empty: anything. Of lists: each of them.
  const char* allowed = "";
  std::int64_t least = 0, most = 0;  ///< of counts
};

/// In the order in which the command names them.
const std::vector<SpecOption>& spec_options();

/// Whether `text` is one of "host|container:*"; a * stands for at least one byte.
bool is_allowed(const char* allowed, std::string_view text);

}  // namespace deployrun::docker
