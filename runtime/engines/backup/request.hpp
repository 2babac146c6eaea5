// One signed request to an S3-compatible store after another, over one connection (libcurl's Signature Version 4).
// Blocks; gives up where nothing moves for a minute.
#pragma once

#include <curl/curl.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/result.hpp"
#include "sqlite/backup.hpp"

namespace deployrun::backup {

using sqlite::Stop;

struct Account {
  std::string access_key;
  std::string secret_key;
  std::string session_token;  ///< of temporary credentials; else empty
};

struct Request {
  std::string method = "GET";
  std::string url;   ///< with its query
  std::string body;  ///< what is sent, unless `file` is given
  std::string file;  ///< what is sent: `length` bytes of it from `offset` on
  std::int64_t offset = 0, length = 0;
  std::string sha256;                ///< of what is sent, hexadecimal: the store refuses anything else
  std::vector<std::string> headers;  ///< further ones
  /// Where the body of a successful answer goes; false ends the transfer. Without it the answer holds it.
  std::function<bool(std::string_view)> take;
};

struct Answer {
  long status = 0;
  std::string body;  ///< at most 8 MiB of it
  std::string etag;
  std::int64_t length = -1;  ///< what Content-Length says; -1: nothing
};

class Caller {
 public:
  /// `authorities`: a file of certificates; empty: the system's.
  Caller(Account account, std::string region, std::string authorities);

  /// Any HTTP answer. `backup.store` where none came, `cancelled`. What a short disturbance may be (no connection, 5xx,
  /// 429) is tried four times.
  core::Result<Answer> call(const Request& request, const Stop& stop);

 private:
  core::Result<Answer> once(const Request& request, const Stop& stop, bool& again);

  struct Close {
    void operator()(CURL* handle) const noexcept { curl_easy_cleanup(handle); }
  };
  Account account_;
  std::string region_;
  std::string authorities_;
  std::unique_ptr<CURL, Close> handle_;
};

}  // namespace deployrun::backup
