#include "sqlite/rows.hpp"

#include <utility>

namespace deployrun::sqlite {

namespace {

std::size_t size_of(const Value& value) {
  const auto* text = std::get_if<std::string>(&value);
  return text == nullptr ? sizeof value : text->size();
}

core::Result<core::Unit> bind(Statement& statement, const Values& values) {
  if (const auto* named = std::get_if<1>(&values)) {
    if (named->size() != static_cast<std::size_t>(statement.parameters())) {
      return core::usage("sqlite: the statement takes " + std::to_string(statement.parameters()) + " values, got " +
                         std::to_string(named->size()));
    }
    return statement.bind_named(*named);
  }
  const auto& list = std::get<0>(values);
  if (list.size() != static_cast<std::size_t>(statement.parameters())) {
    return core::usage("sqlite: the statement takes " + std::to_string(statement.parameters()) + " values, got " +
                       std::to_string(list.size()));
  }
  return statement.bind(list);
}

}  // namespace

core::Result<Rows> run_statement(Database& database, const std::string& sql, const Values& values, Wish wish) {
  auto statement = database.prepare(sql);
  if (!statement) return std::move(statement).error();
  if (wish == Wish::read && !statement->reads()) {
    core::Error refused = core::usage("sqlite.query: the statement changes the database");
    refused.hint = "use run, execute or exclusive: a plan does not make changes";
    return refused;
  }
  if (auto bound = bind(*statement, values); !bound) return std::move(bound).error();
  Rows found;
  for (int column = 0; column < statement->columns(); ++column) found.columns.push_back(statement->column_name(column));
  std::size_t bytes = 0;
  for (;;) {
    auto more = statement->step();
    if (!more) return std::move(more).error();
    if (!*more) break;
    std::vector<Value> row;
    for (int column = 0; column < statement->columns(); ++column) {
      row.push_back(statement->value(column));
      bytes += size_of(row.back());
    }
    found.rows.push_back(std::move(row));
    if (found.rows.size() > kMostRows || bytes > kMostBytes) {
      return core::Error{.kind = "sqlite.too_large",
                         .message = "the answer of " + database.path() + " has more than 100,000 rows or 64 MiB",
                         .hint = "ask for less: LIMIT, or an aggregate"};
    }
  }
  found.changes = sqlite3_changes64(database.raw());
  return found;
}

}  // namespace deployrun::sqlite
