// What deployrun-backup does with a plan, by the server's timer or when it is told to. One at a time: the plan's lock
// is held meanwhile, and freed by the kernel.
#pragma once

#include <memory>
#include <vector>

#include "backup/place.hpp"
#include "backup/store.hpp"
#include "core/file_lock.hpp"

namespace deployrun::backup {

class Job {
 public:
  Job(Plan plan, const Stop& stop);
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  /// Takes a backup, puts it into every store, removes there what is outdated once it is in. Fails where any store
  /// failed; the others have it all the same. Remembered in last.json, also where it fails.
  /// → { id, bytes, contents, ms, stores: [ { store, removed } or { store, error } ] }
  core::Result<Json> now();
  /// → { backups: [ { id, made_ms, bytes, stores: [ title ] } ] newest first, failed: [ { store, error } ], last }
  core::Result<Json> list();
  /// Fetches a backup (the newest where `id` is empty) and checks everything that can be checked of it, apart from the
  /// database. → { id, store, bytes, contents, ms, problems }
  core::Result<Json> drill(const std::string& id);
  /// Fetches one to restore/ID.zst, checked. → { id, file, bytes, contents, store }
  core::Result<Json> fetch(const std::string& id);
  /// Copies what the database holds to restore/before-LABEL.zst. → { file, bytes } or { absent }
  core::Result<Json> keep(const std::string& label);
  /// Replaces the database's content by that of a file of restore/. → { contents }
  core::Result<Json> load(const std::string& file);
  /// → { problems }
  core::Result<Json> check();
  /// Removes a file of restore/. → true where it was there
  core::Result<Json> discard(const std::string& file);

 private:
  struct Found {
    Stored stored;
    std::vector<Store*> stores;
  };
  struct Fetched {
    Stored stored;
    std::string store;
    std::int64_t contents = 0;
    std::vector<std::string> problems;
  };

  core::Result<core::Unit> begin();
  core::Result<Json> take();
  core::Result<Json> store_everywhere(const std::string& file, const Stored& stored);
  core::Result<std::int64_t> store_in(Store& store, const std::string& file, const Stored& stored);
  std::vector<Found> find_all(Json& failed);
  core::Result<Found> find(const std::string& id);
  /// Into the file `to` of the scratch folder.
  core::Result<Fetched> fetch_checked(const std::string& id, const std::string& to);
  core::Result<std::string> kept_file(const std::string& file) const;
  void remember(const core::Result<Json>& outcome, std::int64_t began) const;

  Plan plan_;
  const Stop& stop_;
  Workplace workplace_;
  std::vector<std::unique_ptr<Store>> stores_;
  std::shared_ptr<core::FileLock> lock_;
};

}  // namespace deployrun::backup
