#include "http/call.hpp"

#include "http/exchange.hpp"

namespace deployrun::http {

Call::Call(Client& client, Request request) : client_(client), request_(std::move(request)) {}

Call::~Call() {
  if (exchange_) client_.bury(std::move(exchange_));
}

void Call::start(Done done) {
  if (auto wrong = check(request_)) return done(std::move(*wrong));
  exchange_ = std::make_unique<Exchange>(client_, std::move(request_), std::move(done));
  client_.add(*exchange_);
}

void Call::cancel() noexcept {
  if (exchange_) client_.abort(*exchange_);
}

void Call::resume() {
  if (exchange_) client_.resume(*exchange_);
}

}  // namespace deployrun::http
