// The folder and the files of the journal: made for their owner alone, and refused where somebody else could have put
// them there or could change them (SAFETY.md §4, row 14; the rules of sshd's StrictModes).
#pragma once

#include <string>

#include "core/result.hpp"

namespace deployrun::journal {

struct Place {
  std::string folder;    ///< absolute, without symbolic links
  std::string database;  ///< folder/journal.db
  std::string lock;      ///< folder/journal.lock: nothing but Ownership opens it
};

/// Checks `folder` and, with `create`, makes what is missing: the folder 0700, the files 0600.
/// Kinds: `journal.unsafe` (`path`), `journal.missing`, `journal.io`.
core::Result<Place> open_place(const std::string& folder, bool create);

}  // namespace deployrun::journal
