// Tar archives as they pass by (POSIX.1-2001: ustar, with pax headers where a name or a size does not fit; GNU's long
// names are read too). Uncompressed only. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>

#include "core/result.hpp"

namespace deployrun::core {

struct TarMember {
  std::string name;    ///< as it stands there: nobody has checked it
  char type = '0';     ///< '0' file, '2' symlink, '5' folder …
  std::string target;  ///< of a link (a hard link's is a member's name)
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
  /// `kind` is that of its errors: the archive's origin knows it.
  TarReader(Take take, std::string kind) : take_(std::move(take)), kind_of_errors_(std::move(kind)) {}
  /// An error for what is no archive; nothing is taken after that.
  Result<Unit> feed(std::string_view bytes);
  /// Such an error, for whoever finds one.
  Error broken(const std::string& why) const;
  /// Whether the archive's end was seen, or no member is open at least.
  bool complete() const noexcept { return state_ == State::ended || (state_ == State::header && block_.empty()); }

 private:
  enum class State { header, extended, data, padding, ended };
  Result<Unit> header();
  void extended();

  static constexpr std::size_t kBlock = 512;
  static constexpr std::uint64_t kLongestHeader = 1U << 20U;
  Take take_;
  std::string kind_of_errors_;
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
  TarFilter(std::set<std::string> without, std::function<void(std::string)> pass, std::string kind);
  Result<Unit> feed(std::string_view bytes) { return reader_.feed(bytes); }
  /// The end of the archive; an error where it came to none.
  Result<Unit> finish();

 private:
  std::set<std::string> without_;
  std::function<void(std::string)> pass_;
  bool passing_ = false;
  std::uint64_t size_ = 0;
  TarReader reader_;
};

/// A member's header block, with a pax header before it where it takes one.
std::string tar_header(const TarMember& member);
/// How many NUL bytes follow so many bytes of content.
std::size_t tar_padding(std::uint64_t size) noexcept;
/// A member with its content, padded; `member.size` is the content's.
std::string tar_member(TarMember member, std::string_view content);
/// What stands at the end of an archive.
std::string tar_end();

}  // namespace deployrun::core
