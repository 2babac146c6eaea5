// A plan for people: per step the hosts and what would be changed there, as commands one could paste and as diffs.
#pragma once

#include <string>

#include "json/json.hpp"

namespace deployrun::report {

/// Of `plan.step` (docs/events.md). Hosts whose changes are the same stand together; a step that changes nothing is one
/// line, dimmed.
std::string plan_step_text(const json::Json& event, bool color);

/// Of `plan.finished`: how much is pending.
std::string plan_finished_text(const json::Json& event, bool color);

}  // namespace deployrun::report
