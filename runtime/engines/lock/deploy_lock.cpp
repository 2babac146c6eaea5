#include "lock/deploy_lock.hpp"

#include <utility>

namespace deployrun::lock {

namespace {

bool is_free(const Found& found, const HostClock& clock, std::int64_t grace_ms) {
  const Record& record = found.record;
  if (record.released) return true;
  if (record.claim.by_hand) return false;
  if (!found.alive || record.boot != clock.boot()) return true;
  return clock.now_ms() - record.renewed_ms > record.claim.lease_ms + grace_ms;
}

/// A holder that ended without a word may have changed something a moment ago.
std::int64_t free_since(const std::optional<Found>& found, const HostClock& clock) {
  if (!found || found->record.boot != clock.boot()) return clock.now_ms();
  return found->record.released ? clock.now_ms() - found->record.renewed_ms : 0;
}

Record next(std::uint64_t token, const Claim& claim, const HostClock& clock) {
  return {.claim = claim,
          .token = token,
          .acquired_at = clock.unix_ms(),
          .boot = clock.boot(),
          .renewed_ms = clock.now_ms()};
}

core::Error lost(const Record& mine, const std::optional<Found>& now) {
  core::Error error{.kind = "lock.lost", .message = "the deploy lock was taken over"};
  error.hint = "look at what is deployed before anything else";
  error.details["token"] = static_cast<std::int64_t>(mine.token);
  if (now) {
    const Claim& claim = now->record.claim;
    error.message += " by " + claim.owner + (claim.message.empty() ? "" : " (" + claim.message + ")");
    error.details["holder_id"] = claim.id;
    error.details["holder_token"] = static_cast<std::int64_t>(now->record.token);
  }
  return error;
}

}  // namespace

DeployLock::DeployLock(Claims claims, const HostClock& clock, Record record, HeldFile file)
    : claims_(std::move(claims)), clock_(&clock), record_(std::move(record)), file_(std::move(file)) {}

core::Result<DeployLock::Attempt> DeployLock::try_acquire(const Claims& claims, const Claim& claim,
                                                          const HostClock& clock, std::int64_t grace_ms) {
  for (;;) {
    auto found = claims.highest();
    if (!found) return std::move(found).error();
    Attempt attempt;
    if (*found) {
      if (!is_free(**found, clock, grace_ms)) {
        attempt.holder = std::move(*found);
        return attempt;
      }
      if (!(*found)->record.released) attempt.replaced = (*found)->record;
    }
    attempt.free_ms = free_since(*found, clock);
    Record record = next(*found ? (*found)->record.token + 1 : 1, claim, clock);
    auto file = claims.add(record);
    if (!file) return std::move(file).error();
    if (!*file) continue;  // somebody was faster
    claims.forget_below(record.token);
    attempt.lock = DeployLock(claims, clock, std::move(record), std::move(**file));
    return attempt;
  }
}

core::Result<DeployLock> DeployLock::acquire_again(const Claims& claims, const Claim& claim, std::uint64_t token,
                                                   const HostClock& clock) {
  const Record record = next(token + 1, claim, clock);
  for (;;) {
    auto found = claims.highest();
    if (!found) return std::move(found).error();
    if (!*found || (*found)->record.token != token || (*found)->record.claim.id != claim.id) {
      return lost(next(token, claim, clock), *found);
    }
    auto file = claims.add(record);
    if (!file) return std::move(file).error();
    if (!*file) continue;  // somebody was faster
    claims.forget_below(record.token);
    return DeployLock(claims, clock, record, std::move(**file));
  }
}

core::Result<std::optional<Found>> DeployLock::holder(const Claims& claims, const HostClock& clock,
                                                      std::int64_t grace_ms) {
  auto found = claims.highest();
  if (!found) return found;
  if (*found && is_free(**found, clock, grace_ms)) return std::optional<Found>();
  return found;
}

core::Result<Record> DeployLock::break_claim(const Claims& claims, const std::string& id, const Claim& by,
                                             const HostClock& clock) {
  for (;;) {
    auto found = claims.highest();
    if (!found && found.error().is("lock.corrupt") && id == kCorrupt) {
      const auto token = claims.highest_token();
      if (!token) return token.error();
      Record unreadable{.claim = {.id = id, .owner = "somebody"}, .token = *token};
      found = std::optional<Found>(Found{std::move(unreadable), false});
    }
    if (!found) return std::move(found).error();
    if (!*found || (*found)->record.released || (*found)->record.claim.id != id) {
      core::Error error{.kind = "lock.not_found", .message = "no claim " + id + " holds the deploy lock"};
      if (*found && !(*found)->record.released) error.hint = "the one that holds it is " + (*found)->record.claim.id;
      return error;
    }
    Record record = next((*found)->record.token + 1, by, clock);
    record.released = true;
    auto file = claims.add(record);
    if (!file) return std::move(file).error();
    if (!*file) continue;
    claims.forget_below(record.token);
    return (*found)->record;
  }
}

core::Result<core::Unit> DeployLock::check_mine() const {
  const auto token = claims_.highest_token();
  if (!token) return token.error();
  if (*token == record_.token) return core::Unit{};
  const auto now = claims_.highest();
  return lost(record_, now ? *now : std::nullopt);
}

core::Result<core::Unit> DeployLock::renew() {
  record_.renewed_ms = clock_->now_ms();
  if (auto written = claims_.write_sign(file_, record_, false); !written) return written;
  return check_mine();  // last, so that a process that was stopped on the way here sees what came meanwhile
}

core::Result<core::Unit> DeployLock::release() {
  // First: once it is given back, the next one may have it at once.
  if (auto mine = check_mine(); !mine) return mine;
  record_.released = true;
  record_.renewed_ms = clock_->now_ms();
  return claims_.write_sign(file_, record_, true);
}

}  // namespace deployrun::lock
