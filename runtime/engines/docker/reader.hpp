// Reads a table of options and keeps every mistake, so that a person hears of all of them at once.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/loop.hpp"
#include "json/json.hpp"

namespace deployrun::docker {

class Reader {
 public:
  /// `where` names the table in problems; `table` must outlive the reader. Null stands for an empty table.
  Reader(const json::Json& table, std::string where);

  /// Absent: empty, 0, false, nothing. A wrong type is a problem and reads as absent.
  std::string string(const char* key);
  std::vector<std::string> strings(const char* key);
  /// Values may be strings, numbers and booleans.
  std::map<std::string, std::string> map(const char* key);
  double number(const char* key, double least, double most);
  std::int64_t integer(const char* key, std::int64_t least, std::int64_t most);
  /// As `integer`, where 0 is a value and absent is none.
  std::optional<std::int64_t> count(const char* key, std::int64_t least, std::int64_t most);
  /// A string, number or boolean as text.
  std::string word(const char* key);
  bool boolean(const char* key);
  /// As people write them: "10s".
  std::optional<core::Milliseconds> duration(const char* key);
  bool is_list(const char* key) const;
  /// The table under `key`; give it back with `close`.
  std::optional<Reader> part(const char* key);
  /// The tables of a list; give each back with `close`.
  std::vector<Reader> parts(const char* key);
  /// What is wrong with a key that people may expect; `why` says what to do instead.
  void refuse(const char* key, const std::string& why);
  void close(Reader& part);

  void problem(const std::string& text) { problems_.push_back(text); }
  /// One `usage` error with all problems, unknown keys included; nothing where there are none.
  std::optional<core::Error> finish();

 private:
  const json::Json* take(const char* key);
  void wrong(const std::string& key, const char* expected, const json::Json& value);
  void check_unknown();

  const json::Json& table_;
  std::string where_;
  std::vector<std::string> known_, refused_;
  std::vector<std::string> problems_;
};

}  // namespace deployrun::docker
