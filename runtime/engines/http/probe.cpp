#include "http/probe.hpp"

namespace deployrun::http {

Request as_probe(Request request) {
  request.max_body = kProbeBody;
  request.cut_body = true;
  request.max_redirects = 0;
  request.proxy_from_environment = false;
  return request;
}

Probe::Probe(Client& client, Request request, Expectation expectation)
    : expectation_(std::move(expectation)), call_(client, as_probe(std::move(request))) {}

void Probe::start(Done done) {
  call_.start([this, done = std::move(done)](core::Result<Reply> reply) mutable {
    // `done` may destroy this, and with it the call that holds this function.
    auto tell = std::move(done);
    if (!reply) return tell(std::move(reply).error());
    Probed probed{std::move(*reply), {}};
    probed.unmet = unmet(expectation_, probed.reply);
    tell(std::move(probed));
  });
}

}  // namespace deployrun::http
