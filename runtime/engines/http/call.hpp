// One HTTP request as an operation.
#pragma once

#include <memory>

#include "core/operation.hpp"
#include "http/client.hpp"
#include "http/request.hpp"

namespace deployrun::http {

class Exchange;

/// Any HTTP answer is a Reply; no answer is an Error: `http.resolve`, `http.connect`, `http.tls`, `http.lost`,
/// `http.protocol`, `http.too_large`, `cancelled`, or `usage` for a request that cannot be sent. The cause of a failed
/// route is the stream's own error.
class Call final : public core::Operation<Reply> {
 public:
  Call(Client& client, Request request);
  ~Call() override;

  void start(Done done) override;
  void cancel() noexcept override;
  /// After `on_body` gave `pause`: the same bytes come again, from inside this call or later.
  void resume();

 private:
  Client& client_;  // outlives every call
  Request request_;
  std::unique_ptr<Exchange> exchange_;
};

}  // namespace deployrun::http
