// HTTP/1.1 over one accepted socket, as much of it as the demo app needs: kept-alive connections, bodies with a length
// or in chunks, `Expect: 100-continue`. It knows nothing of what the app answers.

#pragma once

#include <cstdint>
#include <string>

namespace demo {

/// One request, its body already read. The body itself is not kept: only its size and its checksum are.
struct Request {
  std::string method;
  std::string path;                                  // without the query
  std::string query_string;                          // after '?', undecoded
  bool keep_alive = true;                            // what the client wants
  std::uint64_t body_bytes = 0;                      // after chunks were joined
  std::uint64_t body_sum = 14695981039346656037ULL;  // 64 bit FNV-1a of the body

  /// The value of one name in the query, empty when it is not there.
  [[nodiscard]] std::string query(const std::string& name) const;
};

struct Response {
  int status = 200;
  std::string body;
  std::string location;  // sent when not empty
};

/// Reads requests from, and writes responses to, a socket that its owner closes.
class Connection {
 public:
  explicit Connection(int fd) : fd_(fd) {}

  /// Waits for the first byte of a request. False at the end of the connection.
  bool wait_for_request();
  /// Reads one request whole. False when it is malformed, too large or cut off.
  bool read_request(Request& request);
  /// False when the client is gone.
  bool write_response(const Response& response, const std::string& version, bool keep_alive);

 private:
  struct Framing {
    std::uint64_t length = 0;
    bool chunked = false;
    bool expects_continue = false;
  };

  bool fill();
  bool read_line(std::string& line);
  bool read_headers(Request& request, Framing& framing);
  bool read_body(Request& request, std::uint64_t bytes);
  bool read_chunks(Request& request);
  bool write_all(const std::string& bytes);

  int fd_;
  std::string buffer_;  // received and not yet consumed from `start_` on
  std::size_t start_ = 0;
};

}  // namespace demo
