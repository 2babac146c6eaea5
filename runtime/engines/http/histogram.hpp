// Durations counted in buckets that grow by 2 %: percentiles in fixed memory.
#pragma once

#include <array>
#include <cstdint>

namespace deployrun::http {

class Histogram {
 public:
  void add(double ms);
  /// The upper edge of the bucket that holds the `share` (0 … 1) quantile, at most `max`; 0 when nothing was added.
  double quantile(double share) const;
  double max() const noexcept { return max_; }

 private:
  static constexpr double kSmallest = 0.01;  // ms; 900 buckets reach 9 minutes
  std::array<std::uint32_t, 900> buckets_{};
  std::uint64_t count_ = 0;
  double max_ = 0;
};

}  // namespace deployrun::http
