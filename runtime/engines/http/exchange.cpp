#include "http/exchange.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <ctime>

#include "core/text.hpp"
#include "http/expect.hpp"
#include "http/upload.hpp"

namespace deployrun::http {

namespace {

constexpr std::size_t kMaxHeaderBytes = 256U << 10U;

template <class Value>
void set(CURL* easy, CURLoption option, Value value) {
  curl_easy_setopt(easy, option, value);
}

/// What to do about a certificate, by what OpenSSL says is wrong with it.
std::string tls_hint(const std::string& reason) {
  const std::string lower = core::lower(reason);
  const auto says = [&lower](const char* words) { return lower.find(words) != std::string::npos; };
  if (says("expired")) return "renew the server's certificate, and let the server load it";
  if (says("not yet valid")) return "is the clock of this machine right?";
  if (says("subject name") || says("alternative") || says("match"))
    return "the certificate is for another name: ask for that one, with `connect_to` for the address";
  if (says("issuer") || says("self-signed") || says("self signed"))
    return "name the authority's certificate as `ca_file`, or let the server send its whole chain";
  return "`openssl s_client -connect HOST:PORT -servername HOST` shows what the server sends";
}

}  // namespace

Exchange::Exchange(Client& client, Request request, Done done)
    : client_(client), request_(std::move(request)), done_(std::move(done)), easy_(curl_easy_init()) {
  if (!easy_) throw std::bad_alloc();
  set_up();
}

Exchange::~Exchange() {
  if (request_.upload) request_.upload->wake = nullptr;
  client_.remove(*this);
}

void Exchange::set_up() {
  CURL* easy = easy_.get();
  set(easy, CURLOPT_PRIVATE, this);
  set(easy, CURLOPT_ERRORBUFFER, error_text_.data());
  set(easy, CURLOPT_NOSIGNAL, 1L);
  set(easy, CURLOPT_QUICK_EXIT, 1L);  // else whoever gives up waits for the resolver's thread: 10 s, the loop with it
  set(easy, CURLOPT_URL, request_.url.c_str());
  set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  set(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(easy, CURLOPT_USERAGENT, "deployrun");
  set(easy, CURLOPT_FOLLOWLOCATION, request_.max_redirects > 0 ? 1L : 0L);
  set(easy, CURLOPT_MAXREDIRS, request_.max_redirects);
  set(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  set(easy, CURLOPT_CONNECTTIMEOUT, 0x7fffffL);  // deadlines belong to the waiting task; libcurl's own would be 300 s
  set(easy, CURLOPT_SSL_VERIFYPEER, request_.verify ? 1L : 0L);
  set(easy, CURLOPT_SSL_VERIFYHOST, request_.verify ? 2L : 0L);
  if (!request_.ca_file.empty()) set(easy, CURLOPT_CAINFO, request_.ca_file.c_str());
  if (request_.certificate) {
    set(easy, CURLOPT_CERTINFO, 1L);
    set(easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);  // a resumed session shows no certificate
  }
  if (request_.fresh || request_.certificate) {
    set(easy, CURLOPT_FRESH_CONNECT, 1L);
    set(easy, CURLOPT_FORBID_REUSE, 1L);
  }

  if (request_.route) {
    set(easy, CURLOPT_UNIX_SOCKET_PATH, request_.route->path().c_str());
    set(easy, CURLOPT_OPENSOCKETDATA, request_.route.get());
    set(
        easy, CURLOPT_OPENSOCKETFUNCTION, +[](void* route, curlsocktype, curl_sockaddr*) -> curl_socket_t {
          return static_cast<Route*>(route)->expect_connection();
        });
    route_mark_ = request_.route->mark();
  } else if (!request_.unix_socket.empty()) {
    set(easy, CURLOPT_UNIX_SOCKET_PATH, request_.unix_socket.c_str());
  }
  if (!request_.proxy_from_environment || request_.route || !request_.unix_socket.empty()) set(easy, CURLOPT_PROXY, "");
  if (!request_.connect_to.empty() && !request_.route) {
    connect_list_.reset(curl_slist_append(nullptr, ("::" + request_.connect_to).c_str()));
    set(easy, CURLOPT_CONNECT_TO, connect_list_.get());
  }

  set(easy, CURLOPT_HEADERDATA, this);
  set(
      easy, CURLOPT_HEADERFUNCTION, +[](char* bytes, std::size_t size, std::size_t count, void* self) -> std::size_t {
        return static_cast<Exchange*>(self)->on_header({bytes, size * count}) ? size * count : 0;
      });
  set(easy, CURLOPT_WRITEDATA, this);
  set(
      easy, CURLOPT_WRITEFUNCTION, +[](char* bytes, std::size_t size, std::size_t count, void* self) -> std::size_t {
        return static_cast<Exchange*>(self)->on_body(bytes, size * count);
      });
  set_body();
}

void Exchange::set_body() {
  CURL* easy = easy_.get();
  const auto append = [this](const std::string& line) {
    curl_slist* longer = curl_slist_append(header_list_.get(), line.c_str());
    if (longer == nullptr) throw std::bad_alloc();
    header_list_.release();
    header_list_.reset(longer);
  };
  for (const auto& [name, value] : request_.headers) append(value.empty() ? name + ";" : name + ": " + value);

  if (request_.upload) {
    set(easy, CURLOPT_UPLOAD, 1L);
    set(easy, CURLOPT_READDATA, this);
    set(
        easy, CURLOPT_READFUNCTION, +[](char* into, std::size_t size, std::size_t count, void* self) -> std::size_t {
          return static_cast<Exchange*>(self)->on_upload(into, size * count);
        });
    if (request_.upload->size()) set(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(*request_.upload->size()));
    request_.upload->wake = [this] { client_.resume(*this); };
  } else if (!request_.body.empty() || request_.method == "POST" || request_.method == "PUT") {
    set(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
    set(easy, CURLOPT_POSTFIELDS, request_.body.data());
    // Not the form's content type that libcurl would invent.
    if (find_header(request_.headers, "Content-Type") == nullptr) append("Content-Type:");
  }
  if (request_.method == "HEAD") set(easy, CURLOPT_NOBODY, 1L);
  set(easy, CURLOPT_CUSTOMREQUEST, request_.method.c_str());
  append("Expect:");  // waiting for `100 Continue` costs a second with servers that do not know it
  set(easy, CURLOPT_HTTPHEADER, header_list_.get());
}

bool Exchange::on_header(std::string_view line) {
  if (silent_) return false;
  header_bytes_ += line.size();
  if (header_bytes_ > kMaxHeaderBytes) {
    stop_ = core::Error{.kind = "http.too_large", .message = "the answer's headers are longer than 256 KiB"};
    return false;
  }
  line = core::trim(line);
  if (line.rfind("HTTP/", 0) == 0) {
    reply_.headers.clear();  // a redirect's or an interim answer's
    const std::size_t space = line.find(' ');
    if (space != line.npos) std::from_chars(line.data() + space + 1, line.data() + line.size(), reply_.status);
  } else if (const std::size_t colon = line.find(':'); colon != line.npos) {
    reply_.headers.emplace_back(core::trim(line.substr(0, colon)), core::trim(line.substr(colon + 1)));
  }
  return true;
}

std::size_t Exchange::on_body(const char* bytes, std::size_t count) {
  if (silent_) return 0;
  if (request_.on_body && reply_.status >= 200 && reply_.status < 300) {
    // The callback may destroy the call: then this exchange is buried, silent, and lives until libcurl has returned.
    const Flow flow = request_.on_body(reply_, {bytes, count});
    if (silent_) return 0;
    if (flow == Flow::taken) return count;
    paused_ = true;
    return CURL_WRITEFUNC_PAUSE;
  }
  if (request_.cut_body) {
    reply_.body.append(bytes, std::min(count, request_.max_body - reply_.body.size()));
    return count;
  }
  if (reply_.body.size() + count > request_.max_body) {
    stop_ = core::Error{.kind = "http.too_large",
                        .message = "the answer is longer than " + std::to_string(request_.max_body) + " bytes"};
    return 0;
  }
  reply_.body.append(bytes, count);
  return count;
}

std::size_t Exchange::on_upload(char* into, std::size_t room) {
  if (silent_) return CURL_READFUNC_ABORT;
  Upload& upload = *request_.upload;
  switch (upload.state()) {
    case Upload::State::bytes: return upload.take(into, room);
    case Upload::State::empty: paused_ = true; return CURL_READFUNC_PAUSE;
    case Upload::State::end: return 0;
    case Upload::State::failed: stop_ = *upload.error(); return CURL_READFUNC_ABORT;
  }
  return CURL_READFUNC_ABORT;
}

void Exchange::collect(CURLcode code) {
  CURL* easy = easy_.get();
  curl_off_t microseconds = 0;
  curl_easy_getinfo(easy, CURLINFO_TOTAL_TIME_T, &microseconds);
  reply_.ms = static_cast<double>(microseconds) / 1000.0;
  curl_off_t bytes = 0;
  if (curl_easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, &bytes) == CURLE_OK)
    reply_.sent = static_cast<std::uint64_t>(bytes);
  if (curl_easy_getinfo(easy, CURLINFO_SIZE_DOWNLOAD_T, &bytes) == CURLE_OK)
    reply_.received = static_cast<std::uint64_t>(bytes);
  long connects = 0;
  curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &connects);
  reply_.reused = connects == 0;
  char* text = nullptr;
  if (curl_easy_getinfo(easy, CURLINFO_EFFECTIVE_URL, &text) == CURLE_OK && text != nullptr)
    reply_.url = shown_url(text);
  text = nullptr;
  if (curl_easy_getinfo(easy, CURLINFO_REDIRECT_URL, &text) == CURLE_OK && text != nullptr) reply_.redirect = text;
  if (request_.certificate) reply_.tls_days = days_left();
  if (code == CURLE_OK) {
    result_.emplace(std::move(reply_));
  } else {
    result_.emplace(failure(code));
  }
}

/// Of the server's own certificate, the first of those that it sent.
std::optional<double> Exchange::days_left() const {
  curl_certinfo* certificates = nullptr;
  if (curl_easy_getinfo(easy_.get(), CURLINFO_CERTINFO, &certificates) != CURLE_OK || certificates == nullptr ||
      certificates->num_of_certs < 1)
    return {};
  static constexpr std::string_view kName = "Expire date:";
  for (const curl_slist* line = certificates->certinfo[0]; line != nullptr; line = line->next) {
    const std::string_view text = line->data;
    if (text.starts_with(kName)) return days_until(std::string(text.substr(kName.size())), std::time(nullptr));
  }
  return {};
}

core::Error Exchange::failure(CURLcode code) {
  const std::string what = request_.method + " " + shown_url(request_.url) + ": ";
  core::Error error{.kind = "http.lost", .host = request_.host};
  if (stop_) {
    error = *stop_;
    if (error.kind.rfind("http.", 0) == 0) error.message = what + error.message;
    if (error.host.empty()) error.host = request_.host;
    return error;
  }
  if (request_.route) {
    if (auto ended = request_.route->failure_since(route_mark_)) {
      error.kind = ended->dialled ? "http.lost" : "http.connect";
      error.message = what + (ended->dialled ? "the connection was lost" : "no connection");
      return core::wrap(std::move(error), std::move(ended->error));
    }
  }
  std::string reason = error_text_[0] != '\0' ? error_text_.data() : curl_easy_strerror(code);
  long number = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_OS_ERRNO, &number);
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY: error.kind = "http.resolve"; break;
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_PROXY:
      error.kind = "http.connect";
      if (number != 0) {
        reason = core::lower(std::strerror(static_cast<int>(number)));
        error.details["errno"] = static_cast<std::int64_t>(number);
      }
      break;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_USE_SSL_FAILED: error.kind = "http.tls"; break;
    case CURLE_GOT_NOTHING: reason = "the server closed the connection without an answer"; break;
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_PARTIAL_FILE: break;
    case CURLE_TOO_MANY_REDIRECTS:
      error.kind = "http.protocol";
      reason = "more than " + std::to_string(request_.max_redirects) + " redirects";
      break;
    default: error.kind = "http.protocol"; break;
  }
  error.message = what + core::clean(reason);
  if (error.is("http.tls")) error.hint = tls_hint(reason);
  if (error.is("http.resolve")) error.hint = "does the name exist, and does this machine's resolver answer?";
  return error;
}

void Exchange::complete() {
  if (silent_ || !done_) return;
  auto done = std::move(done_);
  done_ = nullptr;
  auto result = std::move(*result_);
  done(std::move(result));
}

void Exchange::cancelled() {
  if (silent_ || !done_) return;
  auto done = std::move(done_);
  done_ = nullptr;
  done(core::cancelled(request_.method + " " + shown_url(request_.url) + ": cancelled"));
}

void Exchange::silence() noexcept {
  silent_ = true;
  if (request_.upload) request_.upload->wake = nullptr;
}

}  // namespace deployrun::http
