// Reading events (docs/events.md): what is not there, or of another type, counts as empty.
#pragma once

#include <cstdint>
#include <string>

#include "json/json.hpp"

namespace deployrun::report {

using json::Json;

inline std::string text_of(const Json& event, const char* key) {
  const auto found = event.find(key);
  if (found == event.end() || found->is_null()) return {};
  return found->is_string() ? found->get<std::string>() : json::dump(*found);
}

inline std::int64_t integer_of(const Json& event, const char* key, std::int64_t fallback = 0) {
  const auto found = event.find(key);
  return found != event.end() && found->is_number() ? static_cast<std::int64_t>(found->get<double>()) : fallback;
}

inline bool flag_of(const Json& event, const char* key) {
  const auto found = event.find(key);
  return found != event.end() && found->is_boolean() && found->get<bool>();
}

/// Whom an event is about; the operator's machine where no host is named.
inline std::string host_of(const Json& event) {
  const std::string host = text_of(event, "host");
  return host.empty() ? "local" : host;
}

/// How far a `pull.progress` or `task.progress` is: "20 MB of 61 MB", or its note.
std::string progress_text(const Json& event);

/// What a `task.waiting` waits for, and what was seen last; without the time that is left.
std::string waiting_text(const Json& event);

/// Where in the recipe an error belongs: `where` of the error itself or of the nearest cause; empty where none says.
std::string where_of(const Json& error);

}  // namespace deployrun::report
