#include "journal/store.hpp"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <utility>

#include "journal/chain.hpp"
#include "journal/schema.hpp"

namespace deployrun::journal {

namespace {

using std::chrono::system_clock;

constexpr const char* kColumns = "SELECT number, time, run, type, body, prev_hash, hash FROM journal ";

std::int64_t milliseconds(system_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

std::int64_t integer_of(const sqlite::Value& value) {
  const auto* integer = std::get_if<std::int64_t>(&value);
  return integer == nullptr ? 0 : *integer;
}

core::Error tampered(std::int64_t number, const std::string& why) {
  core::Error error{.kind = "journal.tampered",
                    .message = "row " + std::to_string(number) + " of the journal " + why,
                    .hint = "somebody changed the file; find out who before you trust it, then move it away"};
  error.details["row"] = number;
  return error;
}

core::Error unfinished_error(const Record& record) {
  core::Error error{.kind = "journal.unfinished",
                    .message = "run " + record.id + " (" + record.info.command + ") has not ended: " +
                               (record.state == RunState::needs_person ? "its undo failed" : "its process is gone"),
                    .hint = "go on with it (--resume) or undo it (--abort)"};
  error.details["run"] = record.id;
  error.details["command"] = record.info.command;
  error.details["state"] = std::string(to_string(record.state));
  return error;
}

core::Error unknown_run(const std::string& run) {
  return {.kind = "journal.unknown_run",
          .message = "the journal knows no run " + run,
          .hint = "deployrun history lists them"};
}

StoredRow row_of(const sqlite::Statement& at) {
  return {.number = at.integer(0), .time = at.integer(1), .run = at.text(2), .type = at.text(3), .body = at.text(4)};
}

/// The first format that has rows like these.
std::int64_t format_of(const std::vector<Entry>& entries) {
  std::int64_t format = kFormat;
  for (const Entry& entry : entries) {
    if (entry.type == "restored") format = std::max<std::int64_t>(format, kFormatOfRestored);
    if (entry.type == "release") format = std::max<std::int64_t>(format, kFormatOfRelease);
  }
  return format;
}

core::Result<core::Unit> check_hash(const sqlite::Statement& at, const StoredRow& row) {
  if (chain_hash(at.text(5), row) == at.text(6)) return core::Unit{};
  return tampered(row.number, "was changed after it was written");
}

}  // namespace

core::Error Store::failed(const char* what, core::Error cause) const {
  const bool corrupt = cause.is("sqlite.corrupt");
  core::Error error{.kind = corrupt ? "journal.corrupt" : "journal.io",
                    .message = std::string(what) + " the journal " + place_.database,
                    .hint = cause.hint};
  return core::wrap(std::move(error), std::move(cause));
}

core::Result<std::unique_ptr<Store>> Store::open(const std::string& folder, Options options) {
  auto place = open_place(folder, options.create);
  if (!place) return std::move(place).error();
  auto database = sqlite::Database::open(place->database, {.create = false});
  if (!database) {
    const bool corrupt = database.error().is("sqlite.corrupt");
    return core::wrap({.kind = corrupt ? "journal.corrupt" : "journal.io",
                       .message = "open the journal " + place->database,
                       .hint = database.error().hint},
                      std::move(database).error());
  }
  std::unique_ptr<Store> store(new Store(std::move(*place), std::move(*database), std::move(options)));
  if (auto ready = store->prepare(); !ready) return std::move(ready).error();
  return store;
}

core::Result<core::Unit> Store::prepare() {
  // PERSIST overwrites the rollback journal's header and syncs it: as durable as DELETE with a synced folder, fewer
  // writes.
  if (auto set =
          database_.execute("PRAGMA journal_mode = PERSIST; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF");
      !set) {
    return failed("open", std::move(set).error());
  }
  auto transaction = sqlite::Transaction::begin(database_);
  if (!transaction) return failed("open", std::move(transaction).error());
  auto format = database_.scalar("PRAGMA user_version");
  if (!format) return failed("open", std::move(format).error());
  auto application = database_.scalar("PRAGMA application_id");
  if (!application) return failed("open", std::move(application).error());
  auto tables = database_.scalar("SELECT count(*) FROM sqlite_master");
  if (!tables) return failed("open", std::move(tables).error());

  if (integer_of(*format) == 0 && integer_of(*application) == 0 && integer_of(*tables) == 0) {
    auto made = database_.execute(kSchema);
    if (made) made = database_.run("INSERT INTO head VALUES (1, 0, ?1)", {chain_start()});
    if (made) made = database_.execute("PRAGMA application_id = " + std::to_string(kApplicationId));
    if (made) made = database_.execute("PRAGMA user_version = " + std::to_string(kFormat));
    if (made) made = transaction->commit();
    if (!made) return failed("make", std::move(made).error());
    return core::Unit{};
  }
  if (integer_of(*application) != kApplicationId) {
    return core::Error{.kind = "journal.corrupt",
                       .message = place_.database + " is a database of another program",
                       .hint = "move it away"};
  }
  if (integer_of(*format) > kNewestFormat) {
    core::Error newer{.kind = "journal.newer",
                      .message = "the journal " + place_.database + " was written by a newer deployrun (format " +
                                 std::to_string(integer_of(*format)) + ", this one knows " +
                                 std::to_string(kNewestFormat) + ")",
                      .hint = "use the newer deployrun"};
    newer.details["format"] = integer_of(*format);
    return newer;
  }
  return core::Unit{};
}

/// Sorts by time, readable by people, and unique: 20261121-092629-k3v9qd (UTC).
std::string Store::new_id() const {
  const std::time_t now = system_clock::to_time_t(options_.now());
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::array<char, 32> text{};
  const std::size_t size = std::strftime(text.data(), text.size(), "%Y%m%d-%H%M%S-", &utc);
  std::array<unsigned char, 6> noise{};
  if (::getrandom(noise.data(), noise.size(), 0) != static_cast<ssize_t>(noise.size())) {
    throw std::runtime_error("no random numbers");
  }
  static constexpr char kLetters[] = "0123456789abcdefghjkmnpqrstvwxyz";  // 32, without i l o u
  std::string id(text.data(), size);
  for (const unsigned char each : noise) id += kLetters[each & 31U];
  return id;
}

core::Result<core::Unit> Store::raise_format(std::int64_t format) {
  auto now = database_.scalar("PRAGMA user_version");
  if (!now) return std::move(now).error();
  if (integer_of(*now) >= format) return core::Unit{};
  if (format >= kFormatOfRelease) {
    if (auto made = database_.execute(kSchemaOfReleases); !made) return made;
  }
  return database_.execute("PRAGMA user_version = " + std::to_string(format));
}

core::Result<core::Unit> Store::insert(const std::vector<Entry>& entries) {
  auto transaction = sqlite::Transaction::begin(database_);
  if (!transaction) return failed("write to", std::move(transaction).error());
  auto head = database_.prepare(
      "SELECT head.number, head.hash, journal.number, journal.hash FROM head "
      "LEFT JOIN journal ON journal.number = (SELECT max(number) FROM journal)");
  if (!head) return failed("write to", std::move(head).error());
  auto found = head->step();
  if (!found) return failed("write to", std::move(found).error());
  std::int64_t number = head->integer(0);
  std::string previous = head->text(1);
  const bool empty = head->is_null(2);
  if (!*found || number != head->integer(2) || previous != (empty ? chain_start() : head->text(3))) {
    return tampered(number, "is missing, or rows were added behind it");
  }

  for (const Entry& entry : entries) {
    const StoredRow row{.number = ++number,
                        .time = entry.time.value_or(milliseconds(options_.now())),
                        .run = entry.run,
                        .type = entry.type,
                        .body = entry.body};
    const std::string hash = chain_hash(previous, row);
    auto written = database_.run("INSERT INTO journal VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                                 {row.number, row.time, row.run, row.type, row.body, previous, hash});
    if (!written) return failed("write to", std::move(written).error());
    previous = hash;
  }
  auto moved = database_.run("UPDATE head SET number = ?1, hash = ?2", {number, previous});
  if (const std::int64_t format = format_of(entries); moved && format != kFormat) moved = raise_format(format);
  if (moved) moved = transaction->commit();
  if (!moved) return failed("write to", std::move(moved).error());
  return core::Unit{};
}

core::Result<core::Unit> Store::write(const std::vector<Entry>& entries) {
  const int first = rows_ + 1;
  const int last = rows_ + static_cast<int>(entries.size());
  if (options_.on_row) {
    for (int row = first; row <= last; ++row) options_.on_row(Point::before, row);
  }
  if (auto written = insert(entries); !written) return written;
  rows_ = last;
  if (options_.on_row) {
    for (int row = first; row <= last; ++row) options_.on_row(Point::after, row);
  }
  return core::Unit{};
}

core::Result<std::string> Store::begin(Entry entry) {
  auto ownership = Ownership::acquire(place_.lock);
  if (!ownership) return std::move(ownership).error();
  auto last = newest();
  if (!last) return std::move(last).error();
  if (*last && (*last)->unfinished()) return unfinished_error(**last);
  entry.run = new_id();
  if (auto written = write({entry}); !written) return std::move(written).error();
  ownership->announce(entry.run);
  ownership_.emplace(std::move(*ownership));
  owned_ = entry.run;
  return entry.run;
}

core::Result<Record> Store::take_over(Entry entry) {
  auto ownership = Ownership::acquire(place_.lock);
  if (!ownership) return std::move(ownership).error();
  auto before = record(entry.run);
  if (!before) return before;
  if (!before->unfinished()) {
    return core::Error{.kind = "journal.finished",
                       .message = "run " + entry.run + " has ended: " + to_string(before->state),
                       .hint = "there is nothing to resume or abort"};
  }
  if (auto written = write({entry}); !written) return std::move(written).error();
  ownership->announce(entry.run);
  ownership_.emplace(std::move(*ownership));
  owned_ = entry.run;
  return record(entry.run);
}

std::vector<core::Result<core::Unit>> Store::append(const std::vector<Entry>& entries) {
  std::vector<core::Result<core::Unit>> results;
  std::vector<Entry> ours;
  for (const Entry& entry : entries) {
    if (ownership_ && entry.run == owned_) {
      ours.push_back(entry);
      results.emplace_back(core::Unit{});
    } else {
      results.emplace_back(
          core::Error{.kind = "journal.not_owner", .message = "this process does not own run " + entry.run});
    }
  }
  if (ours.empty()) return results;
  if (auto written = write(ours); !written) {
    for (auto& result : results) {
      if (result.ok()) result = written.error();
    }
  } else if (ours.back().type == "finish") {
    ownership_.reset();
    owned_.clear();
  }
  return results;
}

core::Result<std::optional<Record>> Store::read(const std::string& run) {
  auto rows = database_.prepare(std::string(kColumns) + "WHERE run = ?1 ORDER BY number");
  if (!rows) return failed("read", std::move(rows).error());
  if (auto bound = rows->bind({run}); !bound) return failed("read", std::move(bound).error());
  Record record;
  for (;;) {
    auto more = rows->step();
    if (!more) return failed("read", std::move(more).error());
    if (!*more) break;
    const StoredRow row = row_of(*rows);
    if (auto intact = check_hash(*rows, row); !intact) return std::move(intact).error();
    if (auto applied = apply(record, row); !applied) return std::move(applied).error();
  }
  return record.id.empty() ? std::optional<Record>() : std::optional<Record>(std::move(record));
}

core::Result<std::optional<Record>> Store::newest() {
  // Only the newest run can be unfinished: `begin` refuses to open one behind it.
  auto run = database_.scalar("SELECT run FROM journal WHERE type = 'run' ORDER BY number DESC LIMIT 1");
  if (!run) return failed("read", std::move(run).error());
  const auto* id = std::get_if<std::string>(&*run);
  return id == nullptr ? core::Result<std::optional<Record>>(std::optional<Record>()) : read(*id);
}

void Store::add_owner(Record& record, const std::optional<Holder>& holder) const {
  if (!holder || !record.unfinished()) return;
  record.owner = {.alive = true, .pid = holder->pid, .host = holder->host};
}

core::Result<std::optional<Record>> Store::unfinished() {
  auto holder = Ownership::look(place_.lock);
  if (!holder) return std::move(holder).error();
  auto last = newest();
  if (!last || !*last || !(*last)->unfinished()) return last ? std::optional<Record>() : std::move(last);
  add_owner(**last, *holder);
  return last;
}

core::Result<std::vector<Record>> Store::history(std::int64_t limit) {
  auto holder = Ownership::look(place_.lock);
  if (!holder) return std::move(holder).error();
  auto runs =
      database_.prepare("SELECT run FROM journal WHERE type = 'run' GROUP BY run ORDER BY max(number) DESC LIMIT ?1");
  if (!runs) return failed("read", std::move(runs).error());
  if (auto bound = runs->bind({limit}); !bound) return failed("read", std::move(bound).error());
  std::vector<Record> records;
  for (;;) {
    auto more = runs->step();
    if (!more) return failed("read", std::move(more).error());
    if (!*more) return records;
    auto found = read(runs->text(0));
    if (!found) return std::move(found).error();
    if (!*found) continue;
    if (records.empty()) add_owner(**found, *holder);
    records.push_back(std::move(**found));
  }
}

core::Result<Record> Store::record(const std::string& run) {
  auto holder = Ownership::look(place_.lock);
  if (!holder) return std::move(holder).error();
  auto found = read(run);
  if (!found) return std::move(found).error();
  if (!*found) return unknown_run(run);
  add_owner(**found, *holder);
  return std::move(**found);
}

core::Result<std::vector<CopiedRow>> Store::copy(const std::string& run, std::int64_t after) {
  auto rows = database_.prepare(std::string(kColumns) + "WHERE run = ?1 AND number > ?2 ORDER BY number");
  if (!rows) return failed("read", std::move(rows).error());
  if (copied_.run != run || copied_.last.row.number > after) copied_ = {.run = run, .number = 0, .last = {}};
  if (copied_.last.row.number == 0) copied_.last.hash = chain_start();
  if (auto bound = rows->bind({run, copied_.number}); !bound) return failed("read", std::move(bound).error());
  std::vector<CopiedRow> found;
  for (;;) {
    auto more = rows->step();
    if (!more) return failed("read", std::move(more).error());
    if (!*more) return found;
    StoredRow row = row_of(*rows);
    if (auto intact = check_hash(*rows, row); !intact) return std::move(intact).error();
    copied_.number = row.number;
    if (row.type == "restored") {
      copied_.last = {.row = {}, .hash = chain_start()};
      found.clear();
      continue;
    }
    row.number = copied_.last.row.number + 1;
    std::string hash = chain_hash(copied_.last.hash, row);
    copied_.last = {.row = {.number = row.number}, .hash = hash};
    if (row.number > after) found.push_back({.row = std::move(row), .hash = std::move(hash)});
  }
}

core::Result<core::Unit> Store::restore(const std::string& run, const std::vector<CopiedRow>& rows) {
  auto ownership = Ownership::acquire(place_.lock);
  if (!ownership) return std::move(ownership).error();
  auto last = newest();
  if (!last) return std::move(last).error();
  if (*last && (*last)->id != run && (*last)->unfinished()) return unfinished_error(**last);
  std::vector<Entry> entries{{.run = run, .type = "restored", .body = "{}"}};
  for (const CopiedRow& each : rows) {
    entries.push_back({.run = run, .type = each.row.type, .body = each.row.body, .time = each.row.time});
  }
  return insert(entries);
}

core::Result<std::vector<Released>> Store::releases(const std::string& service, const std::string& host,
                                                    std::int64_t limit) {
  auto rows =
      database_.prepare(std::string(kColumns) +
                        "WHERE number IN (SELECT max(number) FROM journal "
                        "WHERE type = 'release' AND body ->> '$.service' = ?1 AND body ->> '$.host' = ?2 "
                        "GROUP BY body ->> '$.version' ORDER BY max(number) DESC LIMIT ?3) ORDER BY number DESC");
  if (!rows) return failed("read", std::move(rows).error());
  if (auto bound = rows->bind({service, host, limit}); !bound) return failed("read", std::move(bound).error());
  std::vector<Released> found;
  for (;;) {
    auto more = rows->step();
    if (!more) return failed("read", std::move(more).error());
    if (!*more) return found;
    const StoredRow row = row_of(*rows);
    if (auto intact = check_hash(*rows, row); !intact) return std::move(intact).error();
    auto body = json::parse(row.body);
    if (!body) return failed("read", std::move(body).error());
    found.push_back({.time = row.time, .body = std::move(*body)});
  }
}

core::Result<std::int64_t> Store::verify() {
  auto rows = database_.prepare(std::string(kColumns) + "ORDER BY number");
  if (!rows) return failed("read", std::move(rows).error());
  std::int64_t number = 0;
  std::string previous = chain_start();
  for (;;) {
    auto more = rows->step();
    if (!more) return failed("read", std::move(more).error());
    if (!*more) break;
    const StoredRow row = row_of(*rows);
    if (row.number != ++number) return tampered(number, "is missing");
    if (rows->text(5) != previous) return tampered(number, "does not follow the row before it");
    if (auto intact = check_hash(*rows, row); !intact) return std::move(intact).error();
    previous = rows->text(6);
  }
  auto head = database_.prepare("SELECT number, hash FROM head");
  if (!head) return failed("read", std::move(head).error());
  auto found = head->step();
  if (!found) return failed("read", std::move(found).error());
  if (!*found || head->integer(0) != number || head->text(1) != previous) return tampered(number + 1, "is missing");
  return number;
}

}  // namespace deployrun::journal
