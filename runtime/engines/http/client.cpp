#include "http/client.hpp"

#include <cassert>
#include <mutex>
#include <stdexcept>
#include <string>

#include "http/exchange.hpp"

namespace deployrun::http {

namespace {

// libcurl's own global state is the one thing here that a process has once; it costs a millisecond, so: on first use.
Multi make_multi() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  Multi multi(curl_multi_init());
  if (!multi) throw std::bad_alloc();
  return multi;
}

}  // namespace

/// One socket of libcurl's under watch.
struct Client::Watch {
  Client* client;
  curl_socket_t socket;
  uv_poll_t* poll;
};

Client::Client(core::Loop& loop) : loop_(loop), timer_(loop) {}

void Client::open() {
  multi_ = make_multi();
  CURLM* multi = multi_.get();
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, kMaxConnections);
  curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi, CURLMOPT_TIMERDATA, this);
  curl_multi_setopt(
      multi, CURLMOPT_SOCKETFUNCTION, +[](CURL*, curl_socket_t socket, int what, void* self, void* known) {
        static_cast<Client*>(self)->watch(socket, what, static_cast<Watch*>(known));
        return 0;
      });
  curl_multi_setopt(
      multi, CURLMOPT_TIMERFUNCTION, +[](CURLM*, long ms, void* self) {
        static_cast<Client*>(self)->wait(ms);
        return 0;
      });
}

Client::~Client() {
  assert(!inside_);
  buried_.clear();
  if (!multi_) return;
  curl_multi_setopt(multi_.get(), CURLMOPT_SOCKETFUNCTION, nullptr);
  curl_multi_setopt(multi_.get(), CURLMOPT_TIMERFUNCTION, nullptr);
  for (Watch* watch : watches_) {
    uv_poll_stop(watch->poll);
    core::close_handle(watch->poll);
    delete watch;
  }
}

std::shared_ptr<Route> Client::route(core::Dial dial, std::size_t spares) {
  return std::make_shared<Route>(loop_, std::move(dial), spares);
}

template <class Fn>
void Client::enter(Fn&& fn) {
  inside_ = true;
  fn();
  inside_ = false;
  settle();
}

void Client::add(Exchange& exchange) {
  ++requests_;
  if (inside_) {
    waiting_.push_back(&exchange);
  } else {
    begin(exchange);
  }
}

void Client::begin(Exchange& exchange) {
  if (!multi_) open();
  // Only misuse and lack of memory are reported here; what the world does comes as a message.
  if (curl_multi_add_handle(multi_.get(), exchange.easy()) != CURLM_OK)
    throw std::runtime_error("http: cannot start a request");
  exchange.set_attached(true);
}

void Client::remove(Exchange& exchange) noexcept {
  std::erase(waiting_, &exchange);
  std::erase(aborted_, &exchange);
  std::erase(resumed_, &exchange);
  if (!exchange.attached()) return;
  exchange.set_attached(false);
  curl_multi_remove_handle(multi_.get(), exchange.easy());
}

void Client::abort(Exchange& exchange) noexcept {
  if (inside_) {
    std::erase(aborted_, &exchange);
    aborted_.push_back(&exchange);
    return;
  }
  remove(exchange);
  exchange.cancelled();
}

void Client::resume(Exchange& exchange) {
  if (!exchange.attached() || !exchange.paused()) return;
  if (inside_) {
    resumed_.push_back(&exchange);
    return;
  }
  exchange.set_paused(false);
  enter([&exchange] { curl_easy_pause(exchange.easy(), CURLPAUSE_CONT); });
}

void Client::bury(std::unique_ptr<Exchange> exchange) noexcept {
  exchange->silence();
  if (inside_) buried_.push_back(std::move(exchange));
}

void Client::settle() {
  // Each step may run a caller's `done`, which may start, cancel and destroy others: look again after each.
  while (true) {
    if (!buried_.empty()) {
      auto gone = std::move(buried_.back());
      buried_.pop_back();
    } else if (!aborted_.empty()) {
      Exchange& exchange = *aborted_.back();
      remove(exchange);
      exchange.cancelled();
    } else if (!waiting_.empty()) {
      Exchange& exchange = *waiting_.front();
      waiting_.erase(waiting_.begin());
      begin(exchange);
    } else if (!resumed_.empty()) {
      Exchange& exchange = *resumed_.back();
      resumed_.pop_back();
      exchange.set_paused(false);
      inside_ = true;
      curl_easy_pause(exchange.easy(), CURLPAUSE_CONT);
      inside_ = false;
    } else {
      int left = 0;
      if (!multi_) return;
      const CURLMsg* message = curl_multi_info_read(multi_.get(), &left);
      if (message == nullptr) return;
      if (message->msg != CURLMSG_DONE) continue;
      void* owner = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &owner);
      const CURLcode code = message->data.result;  // the message dies with the removal
      auto& exchange = *static_cast<Exchange*>(owner);
      exchange.collect(code);
      remove(exchange);
      exchange.complete();
    }
  }
}

void Client::watch(curl_socket_t socket, int what, Watch* watch) {
  if (what == CURL_POLL_REMOVE) {
    if (watch == nullptr) return;
    uv_poll_stop(watch->poll);
    core::close_handle(watch->poll);
    watches_.remove(watch);
    delete watch;
    curl_multi_assign(multi_.get(), socket, nullptr);
    return;
  }
  if (watch == nullptr) {
    watch = new Watch{this, socket, new uv_poll_t};
    uv_poll_init_socket(loop_.raw(), watch->poll, socket);
    watch->poll->data = watch;
    watches_.push_back(watch);
    curl_multi_assign(multi_.get(), socket, watch);
  }
  const int events = ((what & CURL_POLL_IN) != 0 ? UV_READABLE : 0) | ((what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0);
  uv_poll_start(watch->poll, events, [](uv_poll_t* handle, int status, int ready) {
    // libcurl may drop the watch while it works.
    Client* const client = static_cast<Watch*>(handle->data)->client;
    const curl_socket_t fd = static_cast<Watch*>(handle->data)->socket;
    const int mask = ((ready & UV_READABLE) != 0 ? CURL_CSELECT_IN : 0) |
                     ((ready & UV_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0) | (status < 0 ? CURL_CSELECT_ERR : 0);
    int running = 0;
    client->enter([&] { curl_multi_socket_action(client->multi_.get(), fd, mask, &running); });
  });
}

void Client::wait(long ms) {
  if (ms < 0) {
    timer_.cancel();
    return;
  }
  timer_.start(core::Milliseconds(ms), [this] {
    int running = 0;
    enter([&] { curl_multi_socket_action(multi_.get(), CURL_SOCKET_TIMEOUT, 0, &running); });
  });
}

}  // namespace deployrun::http
