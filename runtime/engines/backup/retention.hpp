// Which backups have had their time.
#pragma once

#include <vector>

#include "backup/store.hpp"
#include "core/time.hpp"

namespace deployrun::backup {

/// Newest first.
void sort_newest_first(std::vector<Stored>& stored);
/// What is older than `keep` at `now` (milliseconds since 1970), the newest `at_least` left out: a clock that is wrong,
/// or a schedule that has not run for long, leaves something to restore.
std::vector<Stored> outdated(std::vector<Stored> stored, std::int64_t now, core::Milliseconds keep,
                             std::int64_t at_least);

}  // namespace deployrun::backup
