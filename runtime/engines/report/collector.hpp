// Keeps a run's events in memory, for the page that is made of them at its end (stdlib/report). Bounded: what people
// would scroll past is left out first, and counted.
#pragma once

#include <cstddef>

#include "report/sink.hpp"

namespace deployrun::report {

class Collector final : public Sink {
 public:
  static constexpr std::size_t kLimit = std::size_t{16} << 20U;

  /// `limit`: bytes of what may be left out; events that tell how the run went are kept beyond it.
  explicit Collector(std::size_t limit = kLimit) : limit_(limit) {}
  void event(const Json& event) override;

  /// An array of events, in order.
  const Json& events() const noexcept { return events_; }
  std::size_t left_out() const noexcept { return left_out_; }

 private:
  std::size_t limit_;
  std::size_t bytes_ = 0;
  std::size_t left_out_ = 0;
  Json events_ = Json::array();
};

}  // namespace deployrun::report
