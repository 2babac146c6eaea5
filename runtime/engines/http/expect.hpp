// What «healthy» means, and in how few words an answer can be told. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.hpp"
#include "http/request.hpp"
#include "json/json.hpp"

namespace deployrun::http {

/// All of it must hold. An empty part asks for nothing, but an answer's status is always looked at.
struct Expectation {
  using StatusRange = std::pair<int, int>;  ///< both ends included
  std::vector<StatusRange> status = {{200, 299}};
  std::string body_contains;
  Headers headers;  ///< each must be there; an empty value asks for its presence alone
  /// Where in the JSON body ("checks.database", or a pointer "/checks/database") and what must stand there.
  std::vector<std::pair<std::string, json::Json>> fields;
  std::optional<double> tls_days;  ///< so long the server's certificate must still be good for (Request::certificate)
};

/// "200", "200-299", "2xx", or several with commas. Kind `usage`.
core::Result<std::vector<Expectation::StatusRange>> parse_status(std::string_view text);

/// Why the answer is not what was expected, in a few words ("status 503", "header x-version is `v1`, not `v2`");
/// nothing when it is.
std::optional<std::string> unmet(const Expectation& expectation, const Reply& reply);

/// One line about an answer: "503 \"starting\"", "301 → https://example.org/up". Remote text is cleaned and cut.
std::string summary(const Reply& reply);

/// Days from `now` (seconds since 1970) to a time as OpenSSL prints it, "Nov 27 06:36:37 2026 GMT"; nothing for what is
/// none.
std::optional<double> days_until(const std::string& date, std::int64_t now);

/// One printable line of at most `limit` bytes and an ellipsis.
std::string excerpt(std::string_view text, std::size_t limit = 200);

}  // namespace deployrun::http
