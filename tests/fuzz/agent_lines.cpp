// Lines between deployrun and its agents, both ways.
#include "agent/protocol.hpp"
#include "fuzz.hpp"

namespace deployrun::fuzz {

namespace {

/// What was understood once is understood again, as the same.
void there_and_back(const agent::Json& json) {
  if (const auto values = agent::values_of(json)) {
    const auto again = agent::values_of(agent::to_json(*values));
    check(again.ok() && *again == *values);
  }
  if (const auto rows = agent::rows_of(json)) {
    const auto again = agent::rows_of(agent::to_json(*rows));
    check(again.ok() && again->rows == rows->rows && again->columns == rows->columns);
  }
  const core::Error error = agent::error_of(json);
  check(!error.kind.empty() && error.message.find('\x1b') == std::string::npos);
}

}  // namespace

void try_input(std::string_view bytes) {
  if (const auto request = agent::parse_request(bytes)) {
    there_and_back(*request);
    if (request->is_object() && request->contains("params")) there_and_back((*request)["params"]);
  }
  if (const auto answer = agent::parse_answer(bytes); answer && answer->is_object()) {
    for (const auto& [name, each] : answer->items()) there_and_back(each);
  }
}

}  // namespace deployrun::fuzz
