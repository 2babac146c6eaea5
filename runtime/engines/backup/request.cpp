#include "backup/request.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <string_view>
#include <thread>
#include <utility>

#include "core/file_pieces.hpp"
#include "core/files.hpp"
#include "core/text.hpp"

namespace deployrun::backup {

namespace {

constexpr int kTries = 4;
constexpr std::chrono::milliseconds kFirstPause{500};
constexpr std::size_t kLongestBody = 8U << 20U;
constexpr long kConnectSeconds = 15;
constexpr long kStillSeconds = 60;
constexpr const char* kUserAgent = "deployrun-backup";

struct FreeList {
  void operator()(curl_slist* list) const noexcept { curl_slist_free_all(list); }
};
using List = std::unique_ptr<curl_slist, FreeList>;

void append(List& list, const std::string& line) {
  curl_slist* longer = curl_slist_append(list.get(), line.c_str());
  if (longer == nullptr) throw std::bad_alloc();
  (void)list.release();
  list.reset(longer);
}

/// One transfer, as libcurl's callbacks see it.
struct Transfer {
  const Request& request;
  const Stop& stop;
  Answer answer{};
  int file = -1;
  bool took = false;
  std::int64_t sent = 0;
  int failed = 0;  // errno of the file
  bool refused = false;
  CURL* handle = nullptr;
};

std::size_t on_send(char* into, std::size_t size, std::size_t count, void* data) {
  auto& transfer = *static_cast<Transfer*>(data);
  const Request& request = transfer.request;
  const auto room = size * count;
  if (request.file.empty()) {
    const std::size_t most = std::min(room, request.body.size() - static_cast<std::size_t>(transfer.sent));
    request.body.copy(into, most, static_cast<std::size_t>(transfer.sent));
    transfer.sent += static_cast<std::int64_t>(most);
    return most;
  }
  const auto most = std::min(static_cast<std::int64_t>(room), request.length - transfer.sent);
  const ssize_t found = ::pread(transfer.file, into, static_cast<std::size_t>(most), request.offset + transfer.sent);
  if (found < 0) {
    transfer.failed = errno;
    return CURL_READFUNC_ABORT;
  }
  transfer.sent += found;
  return static_cast<std::size_t>(found);
}

int on_seek(void* data, curl_off_t offset, int origin) {
  if (origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  static_cast<Transfer*>(data)->sent = offset;
  return CURL_SEEKFUNC_OK;
}

std::size_t on_receive(char* bytes, std::size_t size, std::size_t count, void* data) {
  auto& transfer = *static_cast<Transfer*>(data);
  const std::string_view piece(bytes, size * count);
  long status = 0;
  curl_easy_getinfo(transfer.handle, CURLINFO_RESPONSE_CODE, &status);
  if (transfer.request.take && status >= 200 && status < 300) {
    transfer.took = true;
    if (!transfer.request.take(piece)) {
      transfer.refused = true;
      return CURL_WRITEFUNC_ERROR;
    }
  } else if (transfer.answer.body.size() + piece.size() <= kLongestBody) {
    transfer.answer.body += piece;
  }
  return piece.size();
}

std::size_t on_header(char* bytes, std::size_t size, std::size_t count, void* data) {
  auto& transfer = *static_cast<Transfer*>(data);
  const std::string_view line(bytes, size * count);
  const std::size_t colon = line.find(':');
  if (line.substr(0, 5) == "HTTP/") transfer.answer.etag.clear();
  if (colon != std::string_view::npos && core::equals_ignoring_case(line.substr(0, colon), "etag")) {
    transfer.answer.etag = std::string(core::trim(line.substr(colon + 1)));
  }
  return line.size();
}

int on_progress(void* data, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<Transfer*>(data)->stop ? 1 : 0;
}

/// Where the systems keep the certificates that they trust.
std::string find_authorities() {
  for (const char* variable : {"SSL_CERT_FILE", "CURL_CA_BUNDLE"}) {
    const char* path = ::getenv(variable);
    if (path != nullptr && *path != '\0') return path;
  }
  for (const char* path : {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                           "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}) {
    if (::access(path, R_OK) == 0) return path;
  }
  return {};
}

bool is_disturbance(long status) {
  return status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

/// Waits, and wakes up where it is stopped.
void pause(std::chrono::milliseconds length, const Stop& stop) {
  constexpr std::chrono::milliseconds kLook{50};
  for (; length > std::chrono::milliseconds(0) && !stop; length -= kLook) std::this_thread::sleep_for(kLook);
}

core::Error unanswered(const Request& request, CURLcode code, const char* said) {
  const std::string_view place = std::string_view(request.url).substr(0, request.url.find('?'));
  const std::string why = *said != '\0' ? said : curl_easy_strerror(code);
  core::Error error{.kind = "backup.store", .message = request.method + " " + std::string(place) + ": " + why};
  if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE) {
    error.hint = "the store's certificate must be one that this server trusts; `ca` names a file of others";
  } else {
    error.hint = "can this server reach the store? It is tried again with the next backup";
  }
  return error;
}

}  // namespace

Caller::Caller(Account account, std::string region, std::string authorities)
    : account_(std::move(account)), region_(std::move(region)), authorities_(std::move(authorities)) {
  if (authorities_.empty()) authorities_ = find_authorities();
}

core::Result<Answer> Caller::call(const Request& request, const Stop& stop) {
  auto wait = kFirstPause;
  for (int tries = 1;; ++tries) {
    bool again = false;
    auto answer = once(request, stop, again);
    if (!again || tries == kTries || stop) return answer;
    pause(wait, stop);
    wait *= 3;
  }
}

core::Result<Answer> Caller::once(const Request& request, const Stop& stop, bool& again) {
  if (stop) return core::cancelled();
  if (!handle_) handle_.reset(curl_easy_init());
  if (!handle_) throw std::bad_alloc();
  CURL* handle = handle_.get();
  curl_easy_reset(handle);  // the connection stays

  const bool sends = request.method == "PUT" || request.method == "POST";
  std::int64_t length = static_cast<std::int64_t>(request.body.size());
  core::Descriptor file(request.file.empty() ? -1 : ::open(request.file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!request.file.empty()) {
    if (!file.open()) return core::file_error("read", request.file, errno);
    length = request.length;
  }
  Transfer transfer{.request = request, .stop = stop, .file = file.get(), .handle = handle};
  std::array<char, CURL_ERROR_SIZE> said{};
  List headers;
  for (const auto& line : request.headers) append(headers, line);
  append(headers, "x-amz-content-sha256: " + request.sha256);
  if (!account_.session_token.empty()) append(headers, "x-amz-security-token: " + account_.session_token);
  append(headers, "Expect:");
  if (sends) append(headers, "Content-Type: application/octet-stream");

  const std::string signing = "aws:amz:" + region_ + ":s3";
  curl_easy_setopt(handle, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle, CURLOPT_AWS_SIGV4, signing.c_str());
  curl_easy_setopt(handle, CURLOPT_USERNAME, account_.access_key.c_str());
  curl_easy_setopt(handle, CURLOPT_PASSWORD, account_.secret_key.c_str());
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(handle, CURLOPT_USERAGENT, kUserAgent);
  curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, said.data());
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, kStillSeconds);
  if (!authorities_.empty()) curl_easy_setopt(handle, CURLOPT_CAINFO, authorities_.c_str());
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_receive);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(handle, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(handle, CURLOPT_XFERINFODATA, &transfer);
  if (request.method == "HEAD") {
    curl_easy_setopt(handle, CURLOPT_NOBODY, 1L);
  } else if (sends) {
    curl_easy_setopt(handle, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    curl_easy_setopt(handle, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(length));
    curl_easy_setopt(handle, CURLOPT_READFUNCTION, on_send);
    curl_easy_setopt(handle, CURLOPT_READDATA, &transfer);
    curl_easy_setopt(handle, CURLOPT_SEEKFUNCTION, on_seek);
    curl_easy_setopt(handle, CURLOPT_SEEKDATA, &transfer);
  } else if (request.method != "GET") {
    curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }

  const CURLcode code = curl_easy_perform(handle);
  if (stop) return core::cancelled(request.method + " to the store: cancelled");
  if (transfer.failed != 0) return core::file_error("read", request.file, transfer.failed);
  if (transfer.refused) return core::Error{.kind = "backup.store", .message = "the answer could not be kept"};
  if (code != CURLE_OK) {
    // What has been taken cannot be taken back.
    again = code != CURLE_PEER_FAILED_VERIFICATION && code != CURLE_URL_MALFORMAT && !transfer.took;
    return unanswered(request, code, said.data());
  }
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &transfer.answer.status);
  curl_off_t told = -1;
  curl_easy_getinfo(handle, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &told);
  transfer.answer.length = told;
  again = is_disturbance(transfer.answer.status);
  return std::move(transfer.answer);
}

}  // namespace deployrun::backup
