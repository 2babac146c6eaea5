// The journal in the project's own folder: one SQLite file, a rollback journal, `synchronous=FULL`.
#pragma once

#include <memory>
#include <string>

#include "core/loop.hpp"
#include "journal/journal.hpp"

namespace deployrun::journal {

/// Opens the journal in `folder` (the project's `.deployrun`), making it where `options.create` says so.
/// Kinds: `journal.unsafe`, `journal.missing`, `journal.newer` (`format`), `journal.corrupt`, `journal.io`.
std::unique_ptr<core::Operation<std::shared_ptr<Journal>>> open_local(core::Loop& loop, std::string folder,
                                                                      Options options);

}  // namespace deployrun::journal
