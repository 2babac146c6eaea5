// An error as JSON: the shape of the journal, of events and of docs/errors.md.
#pragma once

#include "core/error.hpp"
#include "json/json.hpp"

namespace deployrun::json {

/// { kind, message, host, step, hint, cause, also } and the details beside them; absent where empty.
Json to_json(const core::Error& error);

}  // namespace deployrun::json
