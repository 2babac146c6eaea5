#include "sqlite/database.hpp"

#include <utility>

#include "sqlite/error.hpp"

namespace deployrun::sqlite {

namespace {

int bind_value(sqlite3_stmt* statement, int index, const Value& value) {
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return sqlite3_bind_int64(statement, index, *integer);
  if (const auto* number = std::get_if<double>(&value)) return sqlite3_bind_double(statement, index, *number);
  if (const auto* text = std::get_if<std::string>(&value)) {
    return sqlite3_bind_text64(statement, index, text->data(), text->size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  }
  return sqlite3_bind_null(statement, index);
}

}  // namespace

core::Result<core::Unit> Statement::bind(const std::vector<Value>& values) {
  sqlite3_reset(handle_.get());
  sqlite3_clear_bindings(handle_.get());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const int code = bind_value(handle_.get(), static_cast<int>(i + 1), values[i]);
    if (code != SQLITE_OK) return to_error(database_, code, path_, "bind a value in");
  }
  return core::Unit{};
}

core::Result<core::Unit> Statement::bind_named(const std::vector<std::pair<std::string, Value>>& values) {
  sqlite3_reset(handle_.get());
  sqlite3_clear_bindings(handle_.get());
  for (const auto& [name, value] : values) {
    int index = 0;
    for (const char* mark : {":", "@", "$"}) {
      if (index == 0) index = sqlite3_bind_parameter_index(handle_.get(), (mark + name).c_str());
    }
    if (index == 0) return core::usage("sqlite: the statement has no :" + name);
    const int code = bind_value(handle_.get(), index, value);
    if (code != SQLITE_OK) return to_error(database_, code, path_, "bind a value in");
  }
  return core::Unit{};
}

bool Statement::reads() const { return sqlite3_stmt_readonly(handle_.get()) != 0; }

int Statement::parameters() const { return sqlite3_bind_parameter_count(handle_.get()); }

core::Result<bool> Statement::step() {
  const int code = sqlite3_step(handle_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return to_error(database_, sqlite3_extended_errcode(database_), path_, "use");
}

std::int64_t Statement::integer(int column) const { return sqlite3_column_int64(handle_.get(), column); }

double Statement::number(int column) const { return sqlite3_column_double(handle_.get(), column); }

std::string Statement::text(int column) const {
  const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(handle_.get(), column));
  return bytes == nullptr ? std::string()
                          : std::string(bytes, static_cast<std::size_t>(sqlite3_column_bytes(handle_.get(), column)));
}

bool Statement::is_null(int column) const { return sqlite3_column_type(handle_.get(), column) == SQLITE_NULL; }

Value Statement::value(int column) const {
  switch (sqlite3_column_type(handle_.get(), column)) {
    case SQLITE_NULL: return nullptr;
    case SQLITE_INTEGER: return integer(column);
    case SQLITE_FLOAT: return number(column);
    default: return text(column);
  }
}

int Statement::columns() const { return sqlite3_column_count(handle_.get()); }

std::string Statement::column_name(int column) const {
  const char* name = sqlite3_column_name(handle_.get(), column);
  return name == nullptr ? std::string() : std::string(name);
}

core::Result<Database> Database::open(const std::string& path, const OpenOptions& options) {
  int flags = SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_FULLMUTEX;
  flags |= options.read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
  if (options.create && !options.read_only) flags |= SQLITE_OPEN_CREATE;

  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  DatabaseHandle handle(raw);
  if (code != SQLITE_OK) return to_error(raw, code, path, "open");
  sqlite3_busy_timeout(raw, static_cast<int>(options.busy_timeout.count()));

  if (options.foreign) {
    int persist = 1;
    sqlite3_db_config(raw, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    sqlite3_file_control(raw, "main", SQLITE_FCNTL_PERSIST_WAL, &persist);
    sqlite3_wal_autocheckpoint(raw, 0);
  }
  Database database(std::move(handle), path);
  // SQLite opens lazily: the first read finds what is no database at all.
  auto probe = database.scalar("PRAGMA schema_version");
  if (!probe) return std::move(probe).error();
  return database;
}

core::Result<core::Unit> Database::execute(const std::string& sql) {
  const int code = sqlite3_exec(handle_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return to_error(handle_.get(), code, path_, "use");
  return core::Unit{};
}

core::Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* raw = nullptr;
  const int code = sqlite3_prepare_v2(handle_.get(), sql.data(), static_cast<int>(sql.size()), &raw, nullptr);
  if (code != SQLITE_OK) return to_error(handle_.get(), code, path_, "prepare a statement for");
  return Statement(handle_.get(), StatementHandle(raw), path_);
}

core::Result<core::Unit> Database::run(std::string_view sql, const std::vector<Value>& values) {
  auto statement = prepare(sql);
  if (!statement) return std::move(statement).error();
  if (auto bound = statement->bind(values); !bound) return bound;
  for (;;) {
    auto row = statement->step();
    if (!row) return std::move(row).error();
    if (!*row) return core::Unit{};
  }
}

core::Result<Value> Database::scalar(std::string_view sql, const std::vector<Value>& values) {
  auto statement = prepare(sql);
  if (!statement) return std::move(statement).error();
  if (auto bound = statement->bind(values); !bound) return std::move(bound).error();
  auto row = statement->step();
  if (!row) return std::move(row).error();
  return *row ? statement->value(0) : Value(nullptr);
}

core::Result<Transaction> Transaction::begin(Database& database) {
  auto begun = database.execute("BEGIN IMMEDIATE");
  if (!begun) return std::move(begun).error();
  return Transaction(database.handle_.get());
}

Transaction::~Transaction() {
  // SQLite may have rolled back on its own (disk full): then there is nothing left to do.
  if (database_ != nullptr && sqlite3_get_autocommit(database_) == 0) {
    sqlite3_exec(database_, "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

core::Result<core::Unit> Transaction::commit() {
  const int code = sqlite3_exec(database_, "COMMIT", nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) {
    const char* path = sqlite3_db_filename(database_, "main");
    return to_error(database_, code, path == nullptr ? "" : path, "commit to");
  }
  database_ = nullptr;
  return core::Unit{};
}

}  // namespace deployrun::sqlite
