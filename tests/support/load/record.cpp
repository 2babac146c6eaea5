#include "record.hpp"

#include <array>
#include <cstdio>

namespace lab_load {

const char* name(Kind kind) {
  switch (kind) {
    case Kind::keepalive: return "keepalive";
    case Kind::fresh: return "fresh";
    case Kind::upload: return "upload";
    case Kind::slow: return "slow";
  }
  return "unknown";
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == '"' || byte == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte > 0x7e) {
      std::array<char, 7> escape{};
      std::snprintf(escape.data(), escape.size(), "\\u%04x", static_cast<unsigned>(byte));
      out += escape.data();
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string to_json(const Record& record) {
  std::string out = "{\"start_ms\":" + std::to_string(record.start_ms);
  out += ",\"duration_ms\":" + std::to_string(record.duration_ms);
  out += ",\"url\":" + std::to_string(record.url);
  out += ",\"kind\":\"" + std::string(name(record.kind)) + "\"";
  out += ",\"status\":" + std::to_string(record.status);
  out += ",\"new_connections\":" + std::to_string(record.new_connections);
  out += ",\"version\":" + quoted(record.version);
  out += ",\"error\":" + quoted(record.error);
  if (!record.error.empty() || !record.body.empty()) out += ",\"body\":" + quoted(record.body);
  return out + "}";
}

}  // namespace lab_load
