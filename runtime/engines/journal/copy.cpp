// Rows of a run away from the journal that they were written to: their shape, their chain, what they say.
#include <utility>

#include "journal/chain.hpp"
#include "journal/record.hpp"

namespace deployrun::journal {

namespace {

core::Error no_row(const std::string& run, std::size_t number, const std::string& why) {
  return {.kind = "journal.corrupt",
          .message = "row " + std::to_string(number) + " of the copy of run " + run + ": " + why};
}

core::Error broken(const std::string& run, std::int64_t number) {
  core::Error error{.kind = "journal.tampered",
                    .message = "row " + std::to_string(number) + " of the copy of run " + run +
                               " on the primary host was changed after it was written",
                    .hint = "somebody changed the file there; find out who before you trust it, then move it away"};
  error.details["row"] = number;
  return error;
}

}  // namespace

Json to_json(const CopiedRow& row) {
  return {{"number", row.row.number},
          {"time", row.row.time},
          {"type", row.row.type},
          {"body", row.row.body},
          {"hash", row.hash}};
}

core::Result<std::vector<CopiedRow>> copied_rows(const std::string& run, const Json& rows) {
  std::vector<CopiedRow> found;
  std::string previous = chain_start();
  for (const Json& each : rows) {
    CopiedRow next;
    try {
      next = {.row = {.number = each.at("number").get<std::int64_t>(),
                      .time = each.at("time").get<std::int64_t>(),
                      .run = run,
                      .type = each.at("type").get<std::string>(),
                      .body = each.at("body").get<std::string>()},
              .hash = each.at("hash").get<std::string>()};
    } catch (const Json::exception& failure) {
      return no_row(run, found.size() + 1, failure.what());
    }
    if (next.row.number != static_cast<std::int64_t>(found.size()) + 1) {
      return no_row(run, found.size() + 1, "it is missing");
    }
    if (chain_hash(previous, next.row) != next.hash) return broken(run, next.row.number);
    previous = next.hash;
    found.push_back(std::move(next));
  }
  if (found.empty()) return no_row(run, 1, "it is missing");
  return found;
}

core::Result<Record> record_of(const std::vector<CopiedRow>& rows) {
  Record record;
  for (const CopiedRow& each : rows) {
    if (auto applied = apply(record, each.row); !applied) return std::move(applied).error();
  }
  return record;
}

}  // namespace deployrun::journal
