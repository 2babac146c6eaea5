// What a claim to the deploy lock says: who wants or has it, since when, and for how long without a sign of life.
// One file per claim, `claim-<token>`: a first line of fixed width that its holder writes over, then JSON that stays.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.hpp"

namespace deployrun::lock {

/// Who claims, in words for people and for the next one who finds the lock taken.
struct Claim {
  std::string id;       ///< unique: what `lock break` names
  std::string owner;    ///< "ann@laptop"
  std::string message;  ///< why
  std::string run;      ///< the run's id; empty for one that a person took
  std::string ci_url;   ///< the job's address; may be empty
  std::string version;  ///< of deployrun
  std::int64_t lease_ms = 30'000;
  bool by_hand = false;  ///< taken by a person: no process stands behind it, and only a release or a break ends it
};

struct Record {
  Claim claim;
  std::uint64_t token = 0;       ///< the fencing token: each claim has a higher one than all before it
  std::int64_t acquired_at = 0;  ///< Unix time in ms by the lock host's clock; for people alone
  std::string boot;              ///< which boot of that host `renewed_ms` counts from
  std::int64_t renewed_ms = 0;   ///< since that boot
  bool released = false;
};

/// Bytes of the first line, which a holder writes over in one go.
inline constexpr std::size_t kSignLength = 40;

/// The first line: released or held, and the last sign of life.
std::string sign(const Record& record);
/// The whole file.
std::string to_text(const Record& record);
/// `lock.corrupt` with what is wrong; `token` is the file name's.
core::Result<Record> from_text(std::string_view text, std::uint64_t token);

}  // namespace deployrun::lock
