#include "http/expect.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <ctime>

#include "core/text.hpp"

namespace deployrun::http {

namespace {

std::optional<int> number(std::string_view text) {
  int value = 0;
  const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (wrong != std::errc{} || end != text.data() + text.size() || value < 100 || value > 599) return {};
  return value;
}

std::optional<Expectation::StatusRange> range(std::string_view text) {
  if (text.size() == 3 && text.substr(1) == "xx" && text[0] >= '1' && text[0] <= '5') {
    const int first = (text[0] - '0') * 100;
    return Expectation::StatusRange{first, first + 99};
  }
  const std::size_t dash = text.find('-');
  const auto first = number(core::trim(text.substr(0, dash)));
  const auto last = dash == text.npos ? first : number(core::trim(text.substr(dash + 1)));
  if (!first || !last || *last < *first) return {};
  return Expectation::StatusRange{*first, *last};
}

/// The value at a dotted path or a pointer; nullptr where there is none. A part of digits also names a place in an
/// array.
const json::Json* find_field(const json::Json& root, std::string_view path) {
  const json::Json* at = &root;
  const bool pointer = !path.empty() && path.front() == '/';
  for (const std::string_view part : core::split(pointer ? path.substr(1) : path, pointer ? '/' : '.')) {
    if (at->is_object()) {
      const auto found = at->find(std::string(part));
      if (found == at->end()) return nullptr;
      at = &*found;
    } else if (at->is_array()) {
      std::size_t index = 0;
      const auto [end, wrong] = std::from_chars(part.data(), part.data() + part.size(), index);
      if (wrong != std::errc{} || end != part.data() + part.size() || index >= at->size()) return nullptr;
      at = &(*at)[index];
    } else {
      return nullptr;
    }
  }
  return at;
}

std::string days(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", value);
  return text.data();
}

}  // namespace

std::optional<double> days_until(const std::string& date, std::int64_t now) {
  std::tm parts{};
  const char* end = ::strptime(date.c_str(), "%b %d %H:%M:%S %Y GMT", &parts);
  if (end == nullptr || *end != '\0') return {};
  return static_cast<double>(::timegm(&parts) - now) / 86400.0;
}

core::Result<std::vector<Expectation::StatusRange>> parse_status(std::string_view text) {
  std::vector<Expectation::StatusRange> ranges;
  for (const std::string_view part : core::split(text, ',')) {
    const auto one = range(core::trim(part));
    if (!one) {
      return core::usage("`" + excerpt(text, 40) + "` is not a status: 200, 200-299, 2xx, or several with commas");
    }
    ranges.push_back(*one);
  }
  return ranges;
}

std::optional<std::string> unmet(const Expectation& expectation, const Reply& reply) {
  const bool status = std::any_of(expectation.status.begin(), expectation.status.end(), [&](const auto& range) {
    return reply.status >= range.first && reply.status <= range.second;
  });
  if (!status) return "status " + std::to_string(reply.status);
  if (expectation.tls_days) {
    if (!reply.tls_days) return "there is no certificate to look at";
    if (*reply.tls_days < *expectation.tls_days) {
      return "the certificate ends in " + days(*reply.tls_days) + " days, " + days(*expectation.tls_days) +
             " are asked for";
    }
  }
  for (const auto& [name, value] : expectation.headers) {
    const std::string* found = find_header(reply.headers, name);
    if (found == nullptr) return "no header " + name;
    if (!value.empty() && *found != value) {
      return "header " + name + " is `" + excerpt(*found, 60) + "`, not `" + excerpt(value, 60) + "`";
    }
  }
  if (!expectation.body_contains.empty() && reply.body.find(expectation.body_contains) == std::string::npos) {
    return "the body does not contain `" + excerpt(expectation.body_contains, 60) + "`";
  }
  if (expectation.fields.empty()) return {};
  const auto body = json::parse(reply.body, {.bytes = reply.body.size() + 1});
  if (!body) return "the body is not JSON";
  for (const auto& [path, value] : expectation.fields) {
    const json::Json* found = find_field(*body, path);
    if (found == nullptr) return "no field " + path;
    if (*found != value) {
      return "field " + path + " is " + excerpt(json::dump(*found), 60) + ", not " + excerpt(json::dump(value), 60);
    }
  }
  return {};
}

std::string summary(const Reply& reply) {
  std::string text = std::to_string(reply.status);
  if (!reply.redirect.empty()) return text + " → " + excerpt(shown_url(reply.redirect));
  if (const std::string body = excerpt(reply.body); !body.empty()) text += " \"" + body + "\"";
  return text;
}

std::string excerpt(std::string_view text, std::size_t limit) {
  // Some more than the limit, since cleaning makes text shorter; not all of a large body.
  std::string cleaned = core::clean(text.substr(0, limit * 4));
  std::string line;
  for (const char byte : cleaned) {
    const bool space = byte == '\n' || byte == '\t' || byte == ' ';
    if (!space) {
      line += byte;
    } else if (!line.empty() && line.back() != ' ') {
      line += ' ';
    }
  }
  if (!line.empty() && line.back() == ' ') line.pop_back();
  if (line.size() <= limit && text.size() <= limit * 4) return line;
  std::size_t end = std::min(limit, line.size());
  while (end > 0 && end < line.size() && (static_cast<unsigned char>(line[end]) & 0xc0U) == 0x80U) --end;
  return line.substr(0, end) + "…";
}

}  // namespace deployrun::http
