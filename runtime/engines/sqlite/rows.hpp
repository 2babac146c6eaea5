// One statement with its values, and the rows it gives, within limits. Blocks.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "sqlite/database.hpp"

namespace deployrun::sqlite {

struct Rows {
  std::vector<std::string> columns;
  std::vector<std::vector<Value>> rows;
  std::int64_t changes = 0;  ///< rows that the statement inserted, changed or removed
};

/// By position, or by name without its mark.
using Values = std::variant<std::vector<Value>, std::vector<std::pair<std::string, Value>>>;

constexpr std::size_t kMostRows = 100'000;
constexpr std::size_t kMostBytes = 64U << 20U;

enum class Wish { read, change };

/// `usage` for a statement that would change something where only reading is wished, and where the values do not fit;
/// `sqlite.too_large` beyond kMostRows or kMostBytes.
core::Result<Rows> run_statement(Database& database, const std::string& sql, const Values& values, Wish wish);

}  // namespace deployrun::sqlite
