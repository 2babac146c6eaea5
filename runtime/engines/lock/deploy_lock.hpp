// The deploy lock of one app, on its primary host. It is held by a process: the kernel frees it when that process ends,
// however it ends. A holder that lives but gives no sign of life for its lease and a grace beyond it is taken over; its
// fencing token is stale then, and it finds out at its next renewal. Blocks for a few file operations; no loop.
#pragma once

#include <optional>
#include <string>

#include "core/result.hpp"
#include "lock/claims.hpp"
#include "lock/host_clock.hpp"

namespace deployrun::lock {

/// How long after the end of a lease nobody takes over yet: a holder has stopped to change things by then.
inline constexpr std::int64_t kGraceMs = 15'000;

class DeployLock {
 public:
  static constexpr const char* kCorrupt = "corrupt";

  /// Taken, or who has it.
  struct Attempt;

  /// Takes the lock at once where it is free: never taken, released, its holder ended, or its lease and the grace have
  /// passed. `lock.io`, `lock.corrupt`.
  static core::Result<Attempt> try_acquire(const Claims& claims, const Claim& claim, const HostClock& clock,
                                           std::int64_t grace_ms = kGraceMs);
  /// Takes it again, with a higher token, for a holder whose process on this host was lost: where nobody had it since
  /// `token`. `lock.lost` otherwise.
  static core::Result<DeployLock> acquire_again(const Claims& claims, const Claim& claim, std::uint64_t token,
                                                const HostClock& clock);
  /// Who has it; nothing where it is free.
  static core::Result<std::optional<Found>> holder(const Claims& claims, const HostClock& clock,
                                                   std::int64_t grace_ms = kGraceMs);
  /// Takes it away from the claim with that id, whoever stands behind it, and leaves it free; what was broken.
  /// `lock.not_found` where another claim or none holds it. `by` says who breaks it. The id kCorrupt is that of a claim
  /// that cannot be read.
  static core::Result<Record> break_claim(const Claims& claims, const std::string& id, const Claim& by,
                                          const HostClock& clock);

  /// A sign of life. `lock.lost` with the new holder's words once somebody else has it: nothing may be changed any
  /// more.
  core::Result<core::Unit> renew();
  /// Gives it back. `lock.lost` as above.
  core::Result<core::Unit> release();

  std::uint64_t token() const noexcept { return record_.token; }
  const Record& record() const noexcept { return record_; }

 private:
  DeployLock(Claims claims, const HostClock& clock, Record record, HeldFile file);
  core::Result<core::Unit> check_mine() const;

  Claims claims_;
  const HostClock* clock_;  // outlives every lock
  Record record_;
  HeldFile file_;
};

struct DeployLock::Attempt {
  std::optional<DeployLock> lock;
  std::optional<Found> holder;     ///< who has it, where it was not taken
  std::optional<Record> replaced;  ///< whose claim had not been released, where it was taken over
  std::int64_t free_ms = 0;        ///< how long nobody had had it, at least
};

}  // namespace deployrun::lock
