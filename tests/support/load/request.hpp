// One HTTP request on libcurl's easy interface: its handle, error buffer, headers and body in one object that does not
// move while libcurl knows it. It judges its own answer; when to start it and what to count is the generator's.

#pragma once

#include <curl/curl.h>

#include <array>
#include <chrono>
#include <memory>
#include <string>

#include "options.hpp"
#include "record.hpp"

namespace lab_load {

/// The body that every upload sends, and the answer that proves it arrived whole.
struct UploadBody {
  explicit UploadBody(std::size_t bytes);
  std::string data;
  std::string expected;  // "<bytes> <64 bit FNV-1a>\n", as the app answers
};

class Request {
 public:
  using Clock = std::chrono::steady_clock;

  /// `upload` and `headers` outlive the request.
  Request(const Options& options, const UploadBody& upload, curl_slist* headers, Kind kind, std::size_t url,
          Clock::time_point due);
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  [[nodiscard]] CURL* handle() const { return easy_.get(); }
  [[nodiscard]] Clock::time_point due() const { return due_; }
  /// What happened, after libcurl reported `code`. `start_ms` is left for the caller, who knows the wall clock.
  [[nodiscard]] Record finish(CURLcode code) const;

 private:
  struct Cleanup {
    void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
  };

  static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* self);
  static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* self);
  [[nodiscard]] std::string judge(CURLcode code, long status) const;

  const UploadBody& upload_;
  bool all_bodies_;
  Kind kind_;
  std::size_t url_;
  Clock::time_point due_;
  std::array<char, CURL_ERROR_SIZE> error_{};
  std::string body_;
  std::string version_;
  std::unique_ptr<CURL, Cleanup> easy_;  // last: dies first, while what it points to is alive
};

}  // namespace lab_load
