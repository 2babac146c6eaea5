// The journal's file from the inside: rows in, records out, the chain in between. Everything here blocks and is used by
// one pool job at a time (local.cpp).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "journal/journal.hpp"
#include "journal/ownership.hpp"
#include "journal/place.hpp"
#include "sqlite/database.hpp"

namespace deployrun::journal {

/// A row before it has a place and a time: already redacted and serialised.
struct Entry {
  std::string run;
  std::string type;
  std::string body;
  std::optional<std::int64_t> time = {};  ///< of a row that was written elsewhere
};

class Store {
 public:
  static core::Result<std::unique_ptr<Store>> open(const std::string& folder, Options options);

  core::Result<std::string> begin(Entry entry);
  core::Result<Record> take_over(Entry entry);
  /// One transaction for all; an entry of a run that is not ours fails alone. A `finish` is the last of its batch.
  std::vector<core::Result<core::Unit>> append(const std::vector<Entry>& entries);

  core::Result<std::optional<Record>> unfinished();
  core::Result<std::vector<Record>> history(std::int64_t limit);
  core::Result<Record> record(const std::string& run);
  core::Result<std::vector<CopiedRow>> copy(const std::string& run, std::int64_t after);
  core::Result<core::Unit> restore(const std::string& run, const std::vector<CopiedRow>& rows);
  core::Result<std::vector<Released>> releases(const std::string& service, const std::string& host, std::int64_t limit);
  core::Result<std::int64_t> verify();

 private:
  Store(Place place, sqlite::Database database, Options options)
      : place_(std::move(place)), options_(std::move(options)), database_(std::move(database)) {}

  core::Result<core::Unit> prepare();
  core::Result<core::Unit> write(const std::vector<Entry>& entries);
  core::Result<core::Unit> insert(const std::vector<Entry>& entries);
  core::Result<core::Unit> raise_format(std::int64_t format);
  core::Result<std::optional<Record>> read(const std::string& run);
  core::Result<std::optional<Record>> newest();
  void add_owner(Record& record, const std::optional<Holder>& holder) const;
  core::Error failed(const char* what, core::Error cause) const;
  std::string new_id() const;

  Place place_;
  Options options_;
  sqlite::Database database_;
  std::optional<Ownership> ownership_;
  std::string owned_;  // the run that `ownership_` is about
  int rows_ = 0;       // committed by this process
  struct {             // how far `copy` came, so that it need not begin anew each time
    std::string run;
    std::int64_t number = 0;  // of the journal
    CopiedRow last;
  } copied_;
};

}  // namespace deployrun::journal
