// What was done once and for all, remembered in the database that it was done to. Blocks.
#pragma once

#include <string>

#include "sqlite/database.hpp"

namespace deployrun::sqlite {

core::Result<bool> was_done(Database& database, const std::string& key);
/// Inside a transaction of the caller's, or by itself. Marking again changes nothing.
core::Result<core::Unit> mark_done(Database& database, const std::string& key);

}  // namespace deployrun::sqlite
