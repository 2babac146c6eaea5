#include "state.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

namespace deployrun::agent {

namespace {

constexpr std::int64_t kFormat = 1;                  // of a new file
constexpr std::int64_t kFormatOfRelease = 2;         // from its first row of the type `release` on; the newest
constexpr std::int64_t kApplicationId = 0x64707374;  // "dpst"

constexpr const char* kSchema = R"sql(
CREATE TABLE journal (
  place  INTEGER PRIMARY KEY,   -- in the order of their coming
  run    TEXT NOT NULL,
  number INTEGER NOT NULL,      -- within the run: 1, 2, 3 … without a gap
  time   INTEGER NOT NULL,      -- the sender's wall clock, milliseconds since 1970
  type   TEXT NOT NULL,         -- run, takeover, once, step, task, release, finish
  body   TEXT NOT NULL,         -- JSON
  hash   TEXT NOT NULL,         -- SHA-256 over this row and the one before it in the run
  UNIQUE (run, number)
);
CREATE INDEX journal_begun ON journal (place) WHERE type = 'run';
CREATE TRIGGER journal_never_changes BEFORE UPDATE ON journal BEGIN SELECT RAISE(ABORT, 'rows of the journal never change'); END;
CREATE TRIGGER journal_never_shrinks BEFORE DELETE ON journal BEGIN SELECT RAISE(ABORT, 'rows of the journal are never removed'); END;
)sql";

constexpr const char* kSchemaOfReleases =
    "CREATE INDEX IF NOT EXISTS journal_released ON journal (body ->> '$.service', body ->> '$.host', place) WHERE "
    "type = 'release'";

std::int64_t integer_of(const sqlite::Value& value) {
  const auto* integer = std::get_if<std::int64_t>(&value);
  return integer == nullptr ? 0 : *integer;
}

core::Error behind(const std::string& run, const std::string& why) {
  return {.kind = "journal.behind",
          .message = "the primary host has other rows of run " + run + ": " + why,
          .hint = "somebody went on with the run elsewhere: deployrun RECIPE history " + run};
}

/// A text in a row's body; empty where it has none of that name.
std::string text_at(const Json& body, const char* name) {
  if (!body.is_object()) return {};
  const auto found = body.find(name);
  return found != body.end() && found->is_string() ? found->get<std::string>() : std::string();
}

struct Last {
  std::int64_t number = 0;
  std::string hash;
};

core::Result<Last> last_of(sqlite::Database& database, const std::string& run) {
  auto found = database.prepare("SELECT number, hash FROM journal WHERE run = ?1 ORDER BY number DESC LIMIT 1");
  if (!found) return std::move(found).error();
  if (auto bound = found->bind({run}); !bound) return std::move(bound).error();
  auto there = found->step();
  if (!there) return std::move(there).error();
  return *there ? Last{found->integer(0), found->text(1)} : Last{};
}

}  // namespace

core::Error State::failed(const char* what, core::Error cause) const {
  const bool corrupt = cause.is("sqlite.corrupt");
  core::Error error{.kind = corrupt ? "journal.corrupt" : "journal.io",
                    .message = std::string(what) + " " + database_.path(),
                    .hint = cause.hint};
  return core::wrap(std::move(error), std::move(cause));
}

core::Result<std::optional<State>> State::open(const std::string& folder, bool create) {
  const std::string path = folder + "/state.db";
  const auto io = [&](const char* what) {
    return core::Error{.kind = "journal.io", .message = std::string(what) + " " + path + ": " + std::strerror(errno)};
  };
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) {
    if (errno != ENOENT) return io("look at");
    if (!create) return std::optional<State>();
    const int made = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (made < 0 && errno != EEXIST) return io("make");
    if (made >= 0) ::close(made);
    // The name itself must survive a power cut; SQLite takes the file as given.
    const int above = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (above >= 0) {
      ::fsync(above);
      ::close(above);
    }
  } else if (!S_ISREG(found.st_mode) || found.st_uid != ::geteuid() || (found.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return core::Error{.kind = "journal.io",
                       .message = path + " is a link, somebody else's, or others may write it",
                       .hint = "make sure that nobody changed it, then chmod go= it, or move it away"};
  }
  auto database = sqlite::Database::open(path, {.create = false});
  if (!database) {
    const bool corrupt = database.error().is("sqlite.corrupt");
    return core::wrap({.kind = corrupt ? "journal.corrupt" : "journal.io", .message = "open " + path},
                      std::move(database).error());
  }
  State state(std::move(*database));
  if (auto ready = state.prepare(); !ready) return std::move(ready).error();
  return std::optional<State>(std::move(state));
}

core::Result<core::Unit> State::prepare() {
  auto set = database_.execute("PRAGMA journal_mode = PERSIST; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF");
  if (!set) return failed("open", std::move(set).error());
  auto format = database_.scalar("PRAGMA user_version");
  if (!format) return failed("open", std::move(format).error());
  if (integer_of(*format) > kFormatOfRelease) {
    core::Error newer{.kind = "journal.newer",
                      .message = database_.path() + " was written by a newer deployrun (format " +
                                 std::to_string(integer_of(*format)) + ", this one knows " +
                                 std::to_string(kFormatOfRelease) + ")",
                      .hint = "use the newer deployrun"};
    newer.details["format"] = integer_of(*format);
    return newer;
  }
  if (integer_of(*format) >= kFormat) return core::Unit{};
  auto transaction = sqlite::Transaction::begin(database_);
  if (!transaction) return failed("make", std::move(transaction).error());
  format = database_.scalar("PRAGMA user_version");
  if (format && integer_of(*format) >= kFormat) return core::Unit{};  // another one was faster
  auto made = database_.execute(kSchema);
  if (made) made = database_.execute("PRAGMA application_id = " + std::to_string(kApplicationId));
  if (made) made = database_.execute("PRAGMA user_version = " + std::to_string(kFormat));
  if (made) made = transaction->commit();
  if (!made) return failed("make", std::move(made).error());
  return core::Unit{};
}

core::Result<core::Unit> State::raise_format() {
  auto now = database_.scalar("PRAGMA user_version");
  if (!now) return std::move(now).error();
  if (integer_of(*now) >= kFormatOfRelease) return core::Unit{};
  if (auto made = database_.execute(kSchemaOfReleases); !made) return made;
  return database_.execute("PRAGMA user_version = " + std::to_string(kFormatOfRelease));
}

core::Result<core::Unit> State::append(const std::string& run, const Json& rows) {
  try {
    return add(run, rows);
  } catch (const Json::exception& failure) {
    return core::usage(std::string("journal.append: a row that is none: ") + failure.what());
  }
}

core::Result<core::Unit> State::add(const std::string& run, const Json& rows) {
  auto transaction = sqlite::Transaction::begin(database_);
  if (!transaction) return failed("write to", std::move(transaction).error());
  auto last = last_of(database_, run);
  if (!last) return failed("write to", std::move(last).error());
  bool has_release = false;
  for (const Json& row : rows) {
    const auto number = row.at("number").get<std::int64_t>();
    const auto hash = row.at("hash").get<std::string>();
    if (number <= last->number) {
      auto there = database_.scalar("SELECT hash FROM journal WHERE run = ?1 AND number = ?2", {run, number});
      if (!there) return failed("read", std::move(there).error());
      if (*there != sqlite::Value(hash)) return behind(run, "row " + std::to_string(number) + " is another one");
      continue;
    }
    if (number != last->number + 1) return behind(run, "row " + std::to_string(last->number + 1) + " is missing");
    auto written =
        database_.run("INSERT INTO journal (run, number, time, type, body, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                      {run, number, row.at("time").get<std::int64_t>(), row.at("type").get<std::string>(),
                       row.at("body").get<std::string>(), hash});
    if (!written) return failed("write to", std::move(written).error());
    *last = {number, hash};
    has_release = has_release || row.at("type") == "release";
  }
  if (has_release) {
    if (auto raised = raise_format(); !raised) return failed("write to", std::move(raised).error());
  }
  if (auto committed = transaction->commit(); !committed) return failed("write to", std::move(committed).error());
  return core::Unit{};
}

core::Result<Json> State::unfinished() {
  auto newest = database_.prepare("SELECT run, body FROM journal WHERE type = 'run' ORDER BY place DESC LIMIT 1");
  if (!newest) return failed("read", std::move(newest).error());
  auto there = newest->step();
  if (!there) return failed("read", std::move(there).error());
  if (!*there) return Json(false);
  const std::string run = newest->text(0);
  const Json body = Json::parse(newest->text(1), nullptr, false);
  auto ending = database_.prepare(
      "SELECT type, body FROM journal WHERE run = ?1 AND type IN ('run', 'takeover', 'finish') "
      "ORDER BY number DESC LIMIT 1");
  if (!ending) return failed("read", std::move(ending).error());
  if (auto bound = ending->bind({run}); !bound) return failed("read", std::move(bound).error());
  there = ending->step();
  if (!there) return failed("read", std::move(there).error());
  std::string state = "running";
  if (ending->text(0) == "finish") {
    state = text_at(Json::parse(ending->text(1), nullptr, false), "state");
    if (state != "needs_person") return Json(false);
  }
  auto last = last_of(database_, run);
  if (!last) return failed("read", std::move(last).error());
  Json out{{"run", run}, {"rows", last->number}, {"hash", last->hash}, {"state", state}};
  for (const char* field : {"recipe", "command", "user", "host"}) out[field] = text_at(body, field);
  return out;
}

core::Result<Json> State::read(const std::string& run) {
  auto rows = database_.prepare("SELECT number, time, type, body, hash FROM journal WHERE run = ?1 ORDER BY number");
  if (!rows) return failed("read", std::move(rows).error());
  if (auto bound = rows->bind({run}); !bound) return failed("read", std::move(bound).error());
  Json found = Json::array();
  for (;;) {
    auto more = rows->step();
    if (!more) return failed("read", std::move(more).error());
    if (!*more) break;
    found.push_back({{"number", rows->integer(0)},
                     {"time", rows->integer(1)},
                     {"type", rows->text(2)},
                     {"body", rows->text(3)},
                     {"hash", rows->text(4)}});
  }
  return found.empty() ? Json(false) : Json{{"run", run}, {"rows", std::move(found)}};
}

core::Result<Json> State::releases(const std::string& service, const std::string& host, std::int64_t limit) {
  auto rows = database_.prepare(
      "SELECT time, body FROM journal WHERE place IN (SELECT max(place) FROM journal "
      "WHERE type = 'release' AND body ->> '$.service' = ?1 AND body ->> '$.host' = ?2 "
      "GROUP BY body ->> '$.version' ORDER BY max(place) DESC LIMIT ?3) ORDER BY place DESC");
  if (!rows) return failed("read", std::move(rows).error());
  if (auto bound = rows->bind({service, host, limit}); !bound) return failed("read", std::move(bound).error());
  Json found = Json::array();
  for (;;) {
    auto more = rows->step();
    if (!more) return failed("read", std::move(more).error());
    if (!*more) return found;
    Json body = Json::parse(rows->text(1), nullptr, false);
    if (!body.is_object()) continue;
    body["time"] = rows->integer(0);
    found.push_back(std::move(body));
  }
}

core::Result<Json> State::runs(std::int64_t limit) {
  auto newest = database_.prepare("SELECT run FROM journal WHERE type = 'run' ORDER BY place DESC LIMIT ?1");
  if (!newest) return failed("read", std::move(newest).error());
  if (auto bound = newest->bind({limit}); !bound) return failed("read", std::move(bound).error());
  Json found = Json::array();
  for (;;) {
    auto more = newest->step();
    if (!more) return failed("read", std::move(more).error());
    if (!*more) return found;
    auto run = read(newest->text(0));
    if (!run) return run;
    found.push_back(std::move(*run));
  }
}

}  // namespace deployrun::agent
