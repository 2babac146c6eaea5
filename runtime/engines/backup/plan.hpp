// What is to be backed up and where to: the folder of a plan on a server.
//
//   plan.json   what follows, without secrets        account   access key, secret key, session token, a line each
//   (0600) program     deployrun-backup itself              scratch/  what is being made; emptied with each backup lock
//   held while something is done         last.json how the last backup went       restore/  see job.hpp
#pragma once

#include <optional>
#include <string>

#include "backup/s3.hpp"
#include "core/time.hpp"
#include "json/json.hpp"

namespace deployrun::backup {

using json::Json;

struct Place {
  std::string path;       ///< of the database; in a volume relative to its root
  std::string volume;     ///< of the server's engine
  std::string container;  ///< whose mounts hold it
  std::string user;  ///< who it is opened as there; empty: root, and SQLite gives its files to the database's owner
  bool inside() const { return !volume.empty() || !container.empty(); }
};

struct Plan {
  std::string name;
  std::string home;  ///< the plan's own folder
  Place place;
  std::string folder;            ///< backups on this server; empty: none
  std::optional<Bucket> bucket;  ///< and in S3-compatible storage
  Account account;
  core::Milliseconds keep{30LL * 24 * 3600 * 1000};
  std::int64_t at_least = 7;                       ///< the newest ones are kept however old they are
  core::Milliseconds deadline{6LL * 3600 * 1000};  ///< for one backup
  core::Milliseconds patience{60'000};             ///< for a database or another backup that is busy
  int level = 3;                                   ///< zstd's, 1 to 19

  std::string scratch() const { return home + "/scratch"; }
};

/// Reads a plan's folder. `backup.plan`.
core::Result<Plan> read_plan(const std::string& home);
/// The same of the text of plan.json, for whoever has it; no account.
core::Result<Plan> parse_plan(std::string_view text, const std::string& home);

}  // namespace deployrun::backup
