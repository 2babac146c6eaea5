#include "backup/retention.hpp"

#include <algorithm>

namespace deployrun::backup {

void sort_newest_first(std::vector<Stored>& stored) {
  std::sort(stored.begin(), stored.end(), [](const Stored& a, const Stored& b) {
    return a.name.made != b.name.made ? a.name.made > b.name.made : a.name.sha256 < b.name.sha256;
  });
}

std::vector<Stored> outdated(std::vector<Stored> stored, std::int64_t now, core::Milliseconds keep,
                             std::int64_t at_least) {
  sort_newest_first(stored);
  std::vector<Stored> old;
  for (std::size_t at = static_cast<std::size_t>(at_least); at < stored.size(); ++at) {
    if (stored[at].name.made < now - keep.count()) old.push_back(stored[at]);
  }
  return old;
}

}  // namespace deployrun::backup
