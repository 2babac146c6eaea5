// What is kept of one request, and its line in the record file.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace lab_load {

enum class Kind { keepalive, fresh, upload, slow };

const char* name(Kind kind);

struct Record {
  std::int64_t start_ms = 0;     // Unix time at which the request was due
  std::int64_t duration_ms = 0;  // from then to the end of the answer
  std::size_t url = 0;           // index into the urls of the run
  Kind kind = Kind::keepalive;
  long status = 0;           // 0: no answer
  long new_connections = 0;  // opened for it; 0 on a kept connection
  std::string error;         // empty when the request succeeded
  std::string version;       // X-App-Version of the answer
  std::string body;          // the answer's first bytes; of good requests where that was asked for
};

/// One JSON object without line end.
std::string to_json(const Record& record);

/// A JSON string with its quotes; bytes outside printable ASCII are escaped one by one.
std::string quoted(const std::string& text);

}  // namespace lab_load
