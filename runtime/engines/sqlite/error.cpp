#include "sqlite/error.hpp"

namespace deployrun::sqlite {

namespace {

struct Meaning {
  const char* kind;
  const char* hint;
};

Meaning meaning_of(int code) {
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {"sqlite.busy", "another process is writing to this database; try again when it is done"};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {"sqlite.corrupt", "the file is damaged or is no SQLite database; restore it from a backup"};
    case SQLITE_FULL: return {"sqlite.full", "free some space on this disk"};
    case SQLITE_READONLY: return {"sqlite.readonly", "the file or its folder cannot be written"};
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return {"sqlite.open", "check that the file exists, is no symbolic link and may be opened by this user"};
    case SQLITE_IOERR: return {"sqlite.io", "the disk or the file system reported an error; look at the kernel's log"};
    case SQLITE_CONSTRAINT: return {"sqlite.constraint", ""};
    default: return {"sqlite.statement", ""};
  }
}

}  // namespace

core::Error to_error(sqlite3* database, int code, const std::string& path, const std::string& what) {
  const Meaning meaning = meaning_of(code);
  const std::string words = database == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(database);
  core::Error error{.kind = meaning.kind, .message = what + " " + path + ": " + words, .hint = meaning.hint};
  error.details["code"] = static_cast<std::int64_t>(code);
  return error;
}

}  // namespace deployrun::sqlite
