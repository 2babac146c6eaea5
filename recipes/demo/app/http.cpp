#include "http.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <string_view>

namespace demo {
namespace {

constexpr std::size_t kMaxLine = 16 * 1024;
constexpr int kMaxHeaders = 100;
constexpr std::size_t kReadBytes = 64 * 1024;
constexpr std::uint64_t kFnvPrime = 1099511628211ULL;

const char* reason(int status) {
  switch (status) {
    case 200: return "OK";
    case 301: return "Moved Permanently";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 500: return "Internal Server Error";
    case 503: return "Service Unavailable";
    default: return "Status";
  }
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

bool parse_number(std::string_view text, int base, std::uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return !text.empty() && error == std::errc{} && end == text.data() + text.size();
}

}  // namespace

std::string Request::query(const std::string& name) const {
  std::string_view rest = query_string;
  while (!rest.empty()) {
    const auto end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    if (pair.size() > name.size() && pair.starts_with(name) && pair[name.size()] == '=') {
      return std::string(pair.substr(name.size() + 1));
    }
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return {};
}

bool Connection::fill() {
  if (start_ > 0) {
    buffer_.erase(0, start_);
    start_ = 0;
  }
  std::array<char, kReadBytes> chunk;
  ssize_t got = 0;
  do {
    got = recv(fd_, chunk.data(), chunk.size(), 0);
  } while (got < 0 && errno == EINTR);
  if (got <= 0) return false;
  buffer_.append(chunk.data(), static_cast<std::size_t>(got));
  return true;
}

bool Connection::wait_for_request() { return start_ < buffer_.size() || fill(); }

bool Connection::read_line(std::string& line) {
  for (;;) {
    const auto end = buffer_.find('\n', start_);
    if (end != std::string::npos) {
      line.assign(buffer_, start_, end - start_);
      if (!line.empty() && line.back() == '\r') line.pop_back();
      start_ = end + 1;
      return true;
    }
    if (buffer_.size() - start_ > kMaxLine || !fill()) return false;
  }
}

bool Connection::read_headers(Request& request, Framing& framing) {
  std::string line;
  for (int count = 0; count < kMaxHeaders; ++count) {
    if (!read_line(line)) return false;
    if (line.empty()) return true;
    const auto colon = line.find(':');
    if (colon == std::string::npos) return false;
    const std::string name = lower(std::string_view(line).substr(0, colon));
    const std::string_view value = trim(std::string_view(line).substr(colon + 1));
    if (name == "content-length") {
      if (!parse_number(value, 10, framing.length)) return false;
    } else if (name == "transfer-encoding") {
      framing.chunked = lower(value) == "chunked";
      if (!framing.chunked) return false;
    } else if (name == "connection") {
      if (lower(value) == "close") request.keep_alive = false;
    } else if (name == "expect") {
      framing.expects_continue = lower(value) == "100-continue";
    }
  }
  return false;
}

bool Connection::read_body(Request& request, std::uint64_t bytes) {
  while (bytes > 0) {
    if (start_ == buffer_.size() && !fill()) return false;
    const auto take = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, buffer_.size() - start_));
    for (std::size_t i = 0; i < take; ++i) {
      request.body_sum = (request.body_sum ^ static_cast<unsigned char>(buffer_[start_ + i])) * kFnvPrime;
    }
    start_ += take;
    bytes -= take;
    request.body_bytes += take;
  }
  return true;
}

bool Connection::read_chunks(Request& request) {
  std::string line;
  for (;;) {
    std::uint64_t size = 0;
    if (!read_line(line) || !parse_number(trim(line.substr(0, line.find(';'))), 16, size)) return false;
    if (size == 0) break;
    if (!read_body(request, size) || !read_line(line) || !line.empty()) return false;
  }
  do {  // trailers
    if (!read_line(line)) return false;
  } while (!line.empty());
  return true;
}

bool Connection::read_request(Request& request) {
  std::string line;
  if (!read_line(line)) return false;
  const auto first = line.find(' ');
  const auto second = line.rfind(' ');
  if (first == std::string::npos || second == first) return false;
  request.method = line.substr(0, first);
  const std::string target = line.substr(first + 1, second - first - 1);
  const std::string protocol = line.substr(second + 1);
  if (!protocol.starts_with("HTTP/1.") || !target.starts_with("/")) return false;
  request.keep_alive = protocol == "HTTP/1.1";
  const auto mark = target.find('?');
  request.path = target.substr(0, mark);
  request.query_string = mark == std::string::npos ? "" : target.substr(mark + 1);

  Framing framing;
  if (!read_headers(request, framing)) return false;
  if (framing.expects_continue && !write_all("HTTP/1.1 100 Continue\r\n\r\n")) return false;
  return framing.chunked ? read_chunks(request) : read_body(request, framing.length);
}

bool Connection::write_response(const Response& response, const std::string& version, bool keep_alive) {
  std::string out = "HTTP/1.1 " + std::to_string(response.status) + " " + reason(response.status) + "\r\n";
  out += "Content-Type: text/plain\r\nX-App-Version: " + version + "\r\n";
  if (!response.location.empty()) out += "Location: " + response.location + "\r\n";
  out += "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
  out += keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  return write_all(out + response.body);
}

bool Connection::write_all(const std::string& bytes) {
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t wrote = send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return false;
    sent += static_cast<std::size_t>(wrote);
  }
  return true;
}

}  // namespace demo
