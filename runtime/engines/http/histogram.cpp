#include "http/histogram.hpp"

#include <algorithm>
#include <cmath>

namespace deployrun::http {

namespace {
constexpr double kGrowth = 1.02;
}

void Histogram::add(double ms) {
  const double place = ms <= kSmallest ? 0.0 : std::log(ms / kSmallest) / std::log(kGrowth);
  const auto index = std::min(buckets_.size() - 1, static_cast<std::size_t>(place));
  ++buckets_[index];
  ++count_;
  max_ = std::max(max_, ms);
}

double Histogram::quantile(double share) const {
  if (count_ == 0) return 0;
  const auto wanted = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(count_)));
  std::uint64_t seen = 0;
  for (std::size_t index = 0; index < buckets_.size(); ++index) {
    seen += buckets_[index];
    if (seen >= wanted) return std::min(max_, kSmallest * std::pow(kGrowth, static_cast<double>(index + 1)));
  }
  return max_;
}

}  // namespace deployrun::http
