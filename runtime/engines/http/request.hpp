// What is asked and what came back. Plain data: nothing here knows libcurl.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.hpp"

namespace deployrun::http {

class Route;
class Upload;

using Headers = std::vector<std::pair<std::string, std::string>>;

/// The first value of `name` (case is ignored), or nothing.
const std::string* find_header(const Headers& headers, std::string_view name);

/// An answer, whatever its status.
struct Reply {
  int status = 0;
  Headers headers;                 ///< in the order of arrival, of the last answer when redirects were followed
  std::string body;                ///< empty where `Request::on_body` took it
  std::string url;                 ///< the last address asked, without credentials and query
  std::string redirect;            ///< where a 3xx points, absolute; empty otherwise
  double ms = 0;                   ///< from the start to the last byte
  std::uint64_t sent = 0;          ///< bytes of the request's body
  std::uint64_t received = 0;      ///< bytes of the answer's body, wherever they went
  bool reused = false;             ///< an open connection was used, none had to be made
  std::optional<double> tls_days;  ///< how long the server's certificate is still good for; where it was asked for
};

/// What `on_body` did with the bytes. `pause`: not taken, they come again after Call::resume().
enum class Flow { taken, pause };

struct Request {
  std::string url;  ///< absolute, http or https; user:password@ is sent as basic authentication and never shown
  std::string method = "GET";
  Headers headers;
  std::string body;
  std::shared_ptr<Upload> upload;       ///< streamed body instead of `body`
  std::size_t max_body = 16U << 20U;    ///< bytes of the answer; more is `http.too_large`. Does not bind `on_body`
  bool cut_body = false;                ///< keep the first `max_body` bytes instead and read on past them
  long max_redirects = 0;               ///< 0: a 3xx is the reply
  bool verify = true;                   ///< the server's certificate and name
  std::string ca_file;                  ///< PEM, instead of the system's authorities
  std::string connect_to;               ///< "address:port" to connect to; Host header and TLS name stay the URL's
  std::string unix_socket;              ///< path of a socket to speak through
  std::shared_ptr<Route> route;         ///< or whatever stream this opens (Client::route)
  bool fresh = false;                   ///< a connection of its own, closed afterwards
  bool certificate = false;             ///< Reply::tls_days is wanted: a connection of its own too, for its handshake
  bool proxy_from_environment = false;  ///< http_proxy and friends; never for probes, sockets and routes
  std::string host;                     ///< whose errors these are (Error::host); may be empty
  /// Takes the body of a 2xx answer as it comes; other answers' bodies are kept in the reply. Runs inside libcurl: it
  /// may cancel, start and destroy calls, and must not throw.
  std::function<Flow(const Reply& head, std::string_view bytes)> on_body;
};

/// What is wrong with a request that cannot be sent (`usage`): what libcurl would refuse or a server could misread,
/// such as another scheme or a line break in a header.
std::optional<core::Error> check(const Request& request);

/// The address as it may be shown: scheme, host, port and path; no credentials, and `?…` for a query.
std::string shown_url(const std::string& url);

}  // namespace deployrun::http
