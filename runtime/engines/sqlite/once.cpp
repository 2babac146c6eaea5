#include "sqlite/once.hpp"

namespace deployrun::sqlite {

namespace {

core::Result<bool> counts(Database& database, const char* sql, const std::vector<Value>& values) {
  auto found = database.scalar(sql, values);
  if (!found) return std::move(found).error();
  const auto* count = std::get_if<std::int64_t>(&*found);
  return count != nullptr && *count > 0;
}

}  // namespace

core::Result<bool> was_done(Database& database, const std::string& key) {
  auto known = counts(database, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1",
                      {std::string("deployrun_once")});
  if (!known || !*known) return known;
  return counts(database, "SELECT count(*) FROM deployrun_once WHERE key = ?1", {key});
}

core::Result<core::Unit> mark_done(Database& database, const std::string& key) {
  auto made =
      database.execute("CREATE TABLE IF NOT EXISTS deployrun_once (key TEXT PRIMARY KEY, done_at TEXT NOT NULL)");
  if (!made) return made;
  return database.run("INSERT OR IGNORE INTO deployrun_once VALUES (?1, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))", {key});
}

}  // namespace deployrun::sqlite
