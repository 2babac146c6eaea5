// Where backups are kept. Everything here blocks: it is used by a program of its own, never on a loop.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backup/name.hpp"
#include "core/result.hpp"
#include "sqlite/backup.hpp"

namespace deployrun::backup {

using sqlite::Stop;

struct Stored {
  Name name;
  std::int64_t bytes = 0;
};

/// A backup that is in a store is there whole: what is cut in the middle leaves nothing under a backup's name.
class Store {
 public:
  Store() = default;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  virtual ~Store() = default;

  /// "folder /var/backups/shop", "s3 https://…/bucket/prefix": for people.
  virtual std::string title() const = 0;
  /// This plan's, in no order.
  virtual core::Result<std::vector<Stored>> list(const Stop& stop) = 0;
  virtual core::Result<core::Unit> put(const std::string& from, const Stored& what, const Stop& stop) = 0;
  /// Into the new file `to`; whether it is what its name says is for the caller to see.
  virtual core::Result<core::Unit> get(const Name& what, const std::string& to, const Stop& stop) = 0;
  virtual core::Result<core::Unit> remove(const Name& what, const Stop& stop) = 0;
  /// Removes what uploads that were cut off have left; nobody else may be putting meanwhile.
  virtual core::Result<core::Unit> tidy(const Stop& stop) = 0;
};

/// A folder of this machine, made (0700) where it is missing.
std::unique_ptr<Store> open_folder(std::string plan, std::string folder);

}  // namespace deployrun::backup
