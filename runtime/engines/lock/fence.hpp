// Where a host keeps the stale out. A run is admitted with its fencing token before it changes anything there; from
// then on the host knows no lower one, and whoever was admitted with a lower one and is still connected loses its
// connection: what it sends later reaches nobody.
#pragma once

#include <cstdint>
#include <string>

#include "core/result.hpp"
#include "lock/carrier.hpp"
#include "lock/folder.hpp"

namespace deployrun::lock {

class Fence {
 public:
  /// See Folder::open. All calls: `lock.io`.
  static core::Result<Fence> open(const std::string& folder);

  /// An admitted session; over when this dies.
  class Session {
   public:
    Session(Folder folder, std::string name, HeldFile file);
    Session(Session&& other) noexcept;
    Session& operator=(Session&&) = delete;
    ~Session();
    /// Its note stays when this dies: the connection may outlive the process that noted it.
    void leave() noexcept;

   private:
    Folder folder_;
    std::string name_;  // empty: moved from
    HeldFile file_;
  };

  /// Admits a run that is connected through `carrier`, after it has ended the sessions of lower tokens through others
  /// (`lock.fence`). `lock.stale` where a higher token was admitted before.
  core::Result<Session> admit(std::uint64_t token, const Carrier& carrier) const;
  /// The highest token that was admitted; 0 for none.
  core::Result<std::uint64_t> token() const;

 private:
  explicit Fence(Folder folder) : folder_(std::move(folder)) {}
  core::Result<Session> add_session(std::uint64_t token, const Carrier& carrier) const;
  core::Result<core::Unit> raise_to(std::uint64_t token) const;
  core::Result<core::Unit> await_end(const std::string& name, std::uint64_t token) const;
  core::Result<core::Unit> end_lower(std::uint64_t token, const Carrier& own) const;
  Folder folder_;
};

}  // namespace deployrun::lock
