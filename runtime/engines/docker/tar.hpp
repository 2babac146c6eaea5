// Tar archives as they pass by: what an engine gives and takes. Uncompressed only: unpacking a compressed one, some
// engines run programs of the container (GHSA-x86f-5xw2-fm2r). Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>

#include "core/result.hpp"

namespace deployrun::docker {

struct TarMember {
  std::string name;    ///< as it stands there: nobody has checked it
  char type = '0';     ///< '0' file, '2' symlink, '5' folder …
  std::string target;  ///< of a link
  std::uint64_t size = 0;
  unsigned mode = 0644;
  std::uint64_t uid = 0, gid = 0;
  std::int64_t modified = 0;  ///< seconds since 1970
};

/// Takes an archive apart, wherever its pieces are cut (POSIX ustar with pax and GNU's long names).
class TarReader {
 public:
  struct Take {
    /// `headers`: the member's blocks as they came, extended ones included.
    std::function<void(const TarMember&, std::string_view headers)> member;
    std::function<void(std::string_view)> data = nullptr;
    std::function<void()> end = nullptr;  ///< of a member
  };
  explicit TarReader(Take take) : take_(std::move(take)) {}
  /// Kind `docker.protocol`; nothing is taken after that.
  core::Result<core::Unit> feed(std::string_view bytes);
  /// Whether the archive's end was seen, or no member is open at least.
  bool complete() const noexcept { return state_ == State::ended || (state_ == State::header && block_.empty()); }

 private:
  enum class State { header, extended, data, padding, ended };
  core::Result<core::Unit> header();
  void extended();
  void after(std::uint64_t size);

  static constexpr std::size_t kBlock = 512;
  static constexpr std::uint64_t kLongestHeader = 1U << 20U;
  Take take_;
  State state_ = State::header;
  std::string block_;    // the header that is coming in
  std::string headers_;  // of the member to come
  std::string content_;  // of an extended header
  std::string long_name_, long_target_;
  std::uint64_t long_size_ = 0;
  bool has_long_size_ = false;
  char kind_ = '0';
  std::uint64_t left_ = 0;
  std::size_t padding_ = 0;
};

/// Passes an archive on without some of its members.
class TarFilter {
 public:
  TarFilter(std::set<std::string> without, std::function<void(std::string)> pass);
  core::Result<core::Unit> feed(std::string_view bytes) { return reader_.feed(bytes); }
  /// The end of the archive; an error where it came to none.
  core::Result<core::Unit> finish();

 private:
  std::set<std::string> without_;
  std::function<void(std::string)> pass_;
  bool passing_ = false;
  std::uint64_t size_ = 0;
  TarReader reader_;
};

/// A member with its content, padded; `member.size` is the content's. Long names get a pax header.
std::string tar_member(TarMember member, std::string_view content);
/// What stands at the end of an archive.
std::string tar_end();

}  // namespace deployrun::docker
