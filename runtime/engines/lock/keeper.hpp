// What can be asked of deploy locks and fences on this machine: by an agent, for a run elsewhere, or by a run on its
// own behalf. Claims that were taken here are known by numbers; with the keeper they end, and the kernel frees their
// locks.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "json/json.hpp"
#include "lock/deploy_lock.hpp"
#include "lock/fence.hpp"
#include "lock/queue.hpp"

namespace deployrun::lock {

using json::Json;

class Keeper {
 public:
  using Stop = std::atomic<bool>;

  /// `root`: the folder above `locks/NAME` and `fences/NAME-IDENTITY`; made when it is used. Empty: `lock.io`.
  explicit Keeper(std::string root);
  ~Keeper();

  /// Blocks, as long as `patience_ms` says; may be called from several threads. Besides the kinds of this room: `usage`
  /// for other parameters than these, `lock.held` (`holder_…`), `lock.method`, `cancelled` once `stop` is set.
  ///
  ///   acquire  name, claim, patience_ms, again (a token: see DeployLock::acquire_again), admit (on this host too)
  ///            → claim (its number), token, identity, free_ms, replaced
  ///   renew    claim → true
  ///   release  claim → true, and the run is not admitted here any more; or name, id: what a person took → that claim
  ///   status   name → holder, waiting
  ///   break    name, id, by (a claim) → what was broken
  ///   admit    name, identity, token → true
  core::Result<Json> answer(std::string_view method, const Json& params, const Stop& stop);

  /// The folder of the lock of that name: what belongs to it is kept there. `usage`, `lock.io`.
  core::Result<std::string> folder_of(const std::string& name) const;
  /// The same for the holder of a claim, to whom this is a sign of life. `lock.lost` once somebody else has the lock.
  core::Result<std::string> folder_of_held(std::int64_t claim);

 private:
  class Params;
  struct Held;
  struct Place;
  struct Admitted {
    std::string name;
    std::uint64_t token;
    Fence::Session session;
  };

  core::Result<Json> acquire(Params& params, const Stop& stop);
  core::Result<Json> renew(Params& params);
  core::Result<Json> release(Params& params);
  core::Result<Json> status(Params& params);
  core::Result<Json> break_claim(Params& params);
  core::Result<Json> admit(Params& params);

  core::Result<DeployLock::Attempt> wait(const Place& place, const Claim& claim, std::int64_t patience_ms,
                                         const Stop& stop) const;
  core::Result<Place> open(const std::string& name) const;
  core::Result<std::string> folder(const char* kind, const std::string& name) const;
  core::Result<core::Unit> admit_here(const std::string& name, const std::string& identity, std::uint64_t token);
  void end_sessions(const std::string& name, std::uint64_t token);
  std::shared_ptr<Held> held(std::int64_t number);

  std::string root_;
  HostClock clock_;
  std::mutex mutex_;
  std::int64_t last_ = 0;
  std::map<std::int64_t, std::shared_ptr<Held>> held_;
  std::vector<Admitted> sessions_;
};

}  // namespace deployrun::lock
