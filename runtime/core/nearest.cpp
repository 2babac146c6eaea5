#include "core/nearest.hpp"

#include <algorithm>

#include "core/text.hpp"

namespace deployrun::core {

namespace {

constexpr std::size_t kListed = 12;
constexpr std::size_t kLongestName = 256;  // the table below grows with the square

bool extends(const std::string& longer, const std::string& shorter) {
  return shorter.size() >= 3 && longer.starts_with(shorter);
}

}  // namespace

std::size_t edit_distance(std::string_view left, std::string_view right) {
  const std::string a = lower(left.substr(0, kLongestName));
  const std::string b = lower(right.substr(0, kLongestName));
  // Three rows of the table: swaps look two rows back.
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t k = 0; k <= b.size(); ++k) last[k] = k;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t k = 1; k <= b.size(); ++k) {
      const std::size_t replaced = last[k - 1] + (a[i - 1] == b[k - 1] ? 0 : 1);
      row[k] = std::min({last[k] + 1, row[k - 1] + 1, replaced});
      if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1]) row[k] = std::min(row[k], before[k - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

std::optional<std::string> nearest(std::string_view name, const std::vector<std::string>& names) {
  const std::string wanted = lower(name);
  const std::string* best = nullptr;
  std::size_t best_distance = 0;
  for (const std::string& known : names) {
    const std::string candidate = lower(known);
    const std::size_t longer = std::max(candidate.size(), wanted.size());
    const std::size_t allowed = std::clamp<std::size_t>(longer / 3, 1, 4);
    const std::size_t distance = edit_distance(wanted, candidate);
    // One letter replaced in a name of one or two is another name, not a slip.
    const bool slip = distance <= allowed && distance < longer;
    if (!slip && !extends(candidate, wanted) && !extends(wanted, candidate)) continue;
    if (best == nullptr || distance < best_distance) {
      best = &known;
      best_distance = distance;
    }
  }
  if (best == nullptr) return std::nullopt;
  return *best;
}

std::string nearest_hint(std::string_view name, const std::vector<std::string>& names) {
  if (const auto near = nearest(name, names)) return "did you mean '" + *near + "'?";
  if (names.empty()) return {};
  std::string hint = "known: ";
  for (std::size_t i = 0; i < names.size() && i < kListed; ++i) {
    if (i > 0) hint += ", ";
    hint += names[i];
  }
  if (names.size() > kListed) hint += " and " + std::to_string(names.size() - kListed) + " more";
  return hint;
}

}  // namespace deployrun::core
