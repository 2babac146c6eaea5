// Looks once whether an address answers as expected.
#pragma once

#include <optional>
#include <string>

#include "http/call.hpp"
#include "http/expect.hpp"

namespace deployrun::http {

/// What probes read of a body.
constexpr std::size_t kProbeBody = 64U << 10U;

struct Probed {
  Reply reply;                       ///< body cut at 64 KiB
  std::optional<std::string> unmet;  ///< why the answer is not as expected
};

/// Any HTTP answer is a Probed; no answer is an Error, as in Call. No proxy, no redirect followed.
class Probe final : public core::Operation<Probed> {
 public:
  Probe(Client& client, Request request, Expectation expectation);
  void start(Done done) override;
  void cancel() noexcept override { call_.cancel(); }

 private:
  Expectation expectation_;
  Call call_;
};

/// The request as a probe sends it.
Request as_probe(Request request);

}  // namespace deployrun::http
