#include "generator.hpp"

#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace lab_load {
namespace {

constexpr auto kDrain = std::chrono::seconds(15);
constexpr long kKeptConnections = 512;
constexpr std::size_t kMostInFlight = 6000;  // no server under test takes that many: this machine does not keep up

}  // namespace

Generator::Generator(const Options& options, int stop_fd, OnRecord on_record)
    : options_(options),
      stop_fd_(stop_fd),
      on_record_(std::move(on_record)),
      upload_(options.uploads_every.count() > 0 ? options.upload_bytes : 0),
      multi_(curl_multi_init()),
      parent_(getppid()) {
  curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, kKeptConnections);
  curl_multi_setopt(multi_, CURLMOPT_PIPELINING, static_cast<long>(CURLPIPE_NOTHING));
  for (const std::string& header : options.headers) headers_ = curl_slist_append(headers_, header.c_str());
}

Generator::~Generator() {
  for (const auto& [handle, request] : in_flight_) curl_multi_remove_handle(multi_, handle);
  in_flight_.clear();
  curl_multi_cleanup(multi_);
  curl_slist_free_all(headers_);
}

std::int64_t Generator::wall(Clock::time_point at) const {
  return begin_ms_ + std::chrono::duration_cast<Milliseconds>(at - begin_).count();
}

Kind Generator::next_quick_kind() {
  keepalive_debt_ += options_.keepalive_share;
  if (keepalive_debt_ < 1) return Kind::fresh;
  keepalive_debt_ -= 1;
  return Kind::keepalive;
}

void Generator::start(Kind kind, Clock::time_point due) {
  if (in_flight_.size() >= kMostInFlight) {
    throw std::runtime_error("more than " + std::to_string(kMostInFlight) + " requests are in flight: given up");
  }
  auto request = std::make_unique<Request>(options_, upload_, headers_, kind, started_++ % options_.urls.size(), due);
  CURL* const handle = request->handle();
  in_flight_.emplace(handle, std::move(request));
  curl_multi_add_handle(multi_, handle);
}

void Generator::issue_due(Clock::time_point now) {
  for (; quick_.next <= now; quick_.next += quick_.every) start(next_quick_kind(), quick_.next);
  for (; uploads_.every.count() > 0 && uploads_.next <= now; uploads_.next += uploads_.every) {
    start(Kind::upload, uploads_.next);
  }
  for (; slow_.every.count() > 0 && slow_.next <= now; slow_.next += slow_.every) start(Kind::slow, slow_.next);
}

void Generator::collect() {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    CURL* handle = message->easy_handle;
    const CURLcode code = message->data.result;  // the message dies with the handle's removal
    const auto found = in_flight_.find(handle);
    Record record = found->second->finish(code);
    record.start_ms = wall(found->second->due());
    curl_multi_remove_handle(multi_, handle);
    in_flight_.erase(found);
    on_record_(record);
  }
}

bool Generator::turn(Clock::time_point until) {
  const auto wait = std::chrono::ceil<Milliseconds>(until - Clock::now()).count();
  curl_waitfd stop{stop_fd_, CURL_WAIT_POLLIN, 0};
  curl_multi_poll(multi_, &stop, 1, static_cast<int>(std::max<std::int64_t>(wait, 0)), nullptr);
  int running = 0;
  curl_multi_perform(multi_, &running);
  collect();
  return (stop.revents & CURL_WAIT_POLLIN) != 0;
}

void Generator::run() {
  begin_ms_ = std::chrono::duration_cast<Milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  begin_ = Clock::now();
  quick_ = {std::chrono::nanoseconds(static_cast<std::int64_t>(1e9 / options_.rate)), begin_};
  uploads_ = {options_.uploads_every, begin_};
  slow_ = {options_.slow_every, begin_};
  const auto last = options_.duration ? begin_ + *options_.duration : Clock::time_point::max();

  for (auto now = Clock::now(); now < last; now = Clock::now()) {
    issue_due(now);
    if (turn(std::min(quick_.next, last)) || getppid() != parent_) break;
  }
  end_ = Clock::now();

  const auto give_up = end_ + kDrain;
  stop_fd_ = -1;  // poll ignores it: a second signal changes nothing
  while (!in_flight_.empty() && Clock::now() < give_up) turn(give_up);
  for (const auto& [handle, request] : in_flight_) {
    Record record = request->finish(CURLE_OPERATION_TIMEDOUT);
    record.start_ms = wall(request->due());
    on_record_(record);
  }
}

}  // namespace lab_load
