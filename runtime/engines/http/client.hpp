// libcurl's multi interface on the loop: sockets and timer only. What a request means is exchange.hpp's business.
#pragma once

#include <curl/curl.h>
#include <uv.h>

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <vector>

#include "core/loop.hpp"
#include "core/stream.hpp"
#include "http/handles.hpp"
#include "http/route.hpp"

namespace deployrun::http {

class Exchange;

/// One per Context; outlives every call. Keeps up to 1024 connections open for reuse and resumes TLS sessions.
class Client {
 public:
  static constexpr long kMaxConnections = 1024;

  explicit Client(core::Loop& loop);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// Requests with this route go over streams that `dial` opens; connections are kept and shared among them alone.
  /// `spares`: see Route.
  std::shared_ptr<Route> route(core::Dial dial, std::size_t spares = 0);
  core::Loop& loop() noexcept { return loop_; }
  /// Requests sent so far, in all.
  std::uint64_t requests() const noexcept { return requests_; }

  // For Call and Exchange. No libcurl handle may be added, removed or resumed while libcurl is calling us: such wishes
  // wait until it has returned.
  void add(Exchange& exchange);
  void remove(Exchange& exchange) noexcept;
  void abort(Exchange& exchange) noexcept;  ///< off the multi handle, then Exchange::complete(cancelled)
  void resume(Exchange& exchange);
  void bury(std::unique_ptr<Exchange> exchange) noexcept;  ///< destroyed as soon as that is allowed

 private:
  struct Watch;

  void open();
  template <class Fn>
  void enter(Fn&& fn);
  void settle();
  void begin(Exchange& exchange);
  void watch(curl_socket_t socket, int what, Watch* watch);
  void wait(long ms);

  core::Loop& loop_;
  core::Timer timer_;
  std::list<Watch*> watches_;
  Multi multi_;          // from the first request on: most invocations make none
  bool inside_ = false;  // libcurl is on the stack
  std::vector<Exchange*> waiting_;
  std::vector<Exchange*> aborted_;
  std::vector<Exchange*> resumed_;
  std::vector<std::unique_ptr<Exchange>> buried_;
  std::uint64_t requests_ = 0;
};

}  // namespace deployrun::http
