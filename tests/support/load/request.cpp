#include "request.hpp"

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string_view>

namespace lab_load {
namespace {

constexpr std::size_t kMaxBody = 400;
constexpr std::string_view kVersionHeader = "x-app-version:";

std::string target(const Options& options, Kind kind, std::size_t url) {
  switch (kind) {
    case Kind::upload: return options.urls[url] + "/upload";
    case Kind::slow: return options.urls[url] + "/slow?ms=" + std::to_string(options.slow.count());
    case Kind::keepalive:
    case Kind::fresh: break;
  }
  return options.urls[url] + options.path;
}

Milliseconds limit(const Options& options, Kind kind) {
  if (kind == Kind::slow) return options.timeout + options.slow;
  if (kind == Kind::upload && options.upload_speed > 0) {
    const auto bytes = static_cast<long>(options.upload_bytes);
    return options.timeout + Milliseconds(1000 * bytes / options.upload_speed);
  }
  return options.timeout;
}

}  // namespace

UploadBody::UploadBody(std::size_t bytes) : data(bytes, '\0') {
  std::uint32_t state = 2463534242U;  // xorshift: bytes that do not repeat, the same in every run
  std::uint64_t sum = 14695981039346656037ULL;
  for (char& c : data) {
    state ^= state << 13U;
    state ^= state >> 17U;
    state ^= state << 5U;
    c = static_cast<char>(state & 0xffU);
    sum = (sum ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  }
  expected = std::to_string(bytes) + " " + std::to_string(sum) + "\n";
}

Request::Request(const Options& options, const UploadBody& upload, curl_slist* headers, Kind kind, std::size_t url,
                 Clock::time_point due)
    : upload_(upload), all_bodies_(options.all_bodies), kind_(kind), url_(url), due_(due), easy_(curl_easy_init()) {
  if (easy_ == nullptr) throw std::bad_alloc();
  CURL* easy = easy_.get();
  curl_easy_setopt(easy, CURLOPT_URL, target(options, kind, url).c_str());
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, 10'000L);
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(limit(options, kind).count()));
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error_.data());
  curl_easy_setopt(easy, CURLOPT_PRIVATE, static_cast<void*>(this));
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Request::on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, static_cast<void*>(this));
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &Request::on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, static_cast<void*>(this));
  if (kind == Kind::fresh) {
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
  }
  if (kind == Kind::upload) {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(upload.data.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, upload.data.data());
    curl_easy_setopt(easy, CURLOPT_MAX_SEND_SPEED_LARGE, static_cast<curl_off_t>(options.upload_speed));
  }
}

std::size_t Request::on_body(char* data, std::size_t size, std::size_t count, void* self) {
  std::string& body = static_cast<Request*>(self)->body_;
  const std::size_t bytes = size * count;
  body.append(data, std::min(bytes, kMaxBody - body.size()));
  return bytes;
}

std::size_t Request::on_header(char* data, std::size_t size, std::size_t count, void* self) {
  const std::size_t bytes = size * count;
  std::string_view line(data, bytes);
  const bool matches = line.size() > kVersionHeader.size() &&
                       std::equal(kVersionHeader.begin(), kVersionHeader.end(), line.begin(), [](char want, char got) {
                         return want == (got >= 'A' && got <= 'Z' ? got - 'A' + 'a' : got);
                       });
  if (matches) {
    line.remove_prefix(kVersionHeader.size());
    const auto first = line.find_first_not_of(" \t");
    const auto last = line.find_last_not_of(" \t\r\n");
    if (first != std::string_view::npos && last != std::string_view::npos && last >= first) {
      static_cast<Request*>(self)->version_ = line.substr(first, last - first + 1);
    }
  }
  return bytes;
}

std::string Request::judge(CURLcode code, long status) const {
  if (code != CURLE_OK) {
    const std::string detail = error_.front() != '\0' ? error_.data() : curl_easy_strerror(code);
    return "curl " + std::to_string(static_cast<int>(code)) + ": " + detail;
  }
  if (status != 200) return "status " + std::to_string(status);
  if (kind_ == Kind::upload && body_ != upload_.expected) return "the upload did not arrive whole";
  return {};
}

Record Request::finish(CURLcode code) const {
  Record record;
  record.duration_ms = std::chrono::duration_cast<Milliseconds>(Clock::now() - due_).count();
  record.url = url_;
  record.kind = kind_;
  curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &record.status);
  curl_easy_getinfo(easy_.get(), CURLINFO_NUM_CONNECTS, &record.new_connections);
  record.error = judge(code, record.status);
  record.version = version_;
  if (all_bodies_ || !record.error.empty()) record.body = body_;
  return record;
}

}  // namespace lab_load
