// What is done where the database is: on the server itself, or in a throw-away container for what lies in a volume. A
// task and its result are JSON, so that the container's program can be handed one; no secret is in them.
#pragma once

#include "backup/packed.hpp"
#include "json/json.hpp"

namespace deployrun::backup {

using json::Json;

/// { "do": "copy", database, scratch, to, level, patience_ms } → { sha256, bytes, contents }
///     A snapshot, whose integrity is checked, compressed into the new file `to`. `scratch`: a folder for it meanwhile,
///     with room for twice the database. `backup.missing` where there is no database.
/// { "do": "load", from, sha256, database, scratch, patience_ms } → { contents }
///     The way back, in one transaction; the database is made where it is missing, and checked afterwards.
/// { "do": "check", database, patience_ms } → { problems: [ … ] }
core::Result<Json> do_work(const Json& task, const Stop& stop);

/// The errors of a copy that was unpacked, as `sqlite::problems`.
core::Result<std::vector<std::string>> problems_of(const std::string& file, const std::string& sha256,
                                                   const std::string& scratch, std::int64_t& contents,
                                                   const Stop& stop);

}  // namespace deployrun::backup
