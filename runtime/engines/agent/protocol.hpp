// What deployrun and deployrun-agent say to each other: a JSON value per line, both ways.
//
//   request    {"id": 7, "method": "query", "params": {…}, "timeout_ms": 30000}
//   answer     {"id": 7, "result": …} or {"id": 7, "error": {kind, message, …}}, in the order in which they are ready
//   heartbeat  {"beat": 3}, answered by the same; any line shows that its sender lives
//
// Both ends are compiled from this file, and the agent is delivered by its hash, so both always speak the same version.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/error.hpp"
#include "core/time.hpp"
#include "json/json.hpp"
#include "sqlite/holders.hpp"
#include "sqlite/rows.hpp"

namespace deployrun::agent {

using json::Json;

constexpr int kProtocol = 1;
constexpr std::size_t kLongestRequest = 8U << 20U;  ///< bytes of a line to the agent
constexpr std::size_t kLongestAnswer = 64U << 20U;  ///< bytes of a line from it
constexpr std::int64_t kMostRequests = 32;          ///< in flight
constexpr core::Milliseconds kLease{30'000};        ///< an agent that heard nothing for this long ends

/// A line from the agent, within its limits.
core::Result<Json> parse_answer(std::string_view line);
/// A line to the agent, within its limits.
core::Result<Json> parse_request(std::string_view line);

/// Text that is no UTF-8 travels as {"base64": …}, a number that JSON lacks as {"real": "inf"}.
Json to_json(const sqlite::Value& value);
Json to_json(const sqlite::Values& values);
Json to_json(const sqlite::Rows& rows);
Json to_json(const std::vector<sqlite::Holder>& holders);

/// `agent.protocol` for another shape.
core::Result<sqlite::Value> value_of(const Json& json);
core::Result<sqlite::Values> values_of(const Json& json);
core::Result<sqlite::Rows> rows_of(const Json& json);
core::Error error_of(const Json& json);

core::Error protocol_error(std::string why);

}  // namespace deployrun::agent
