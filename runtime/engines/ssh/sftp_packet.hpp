// Packets of SFTP version 3 (draft-ietf-secsh-filexfer-02, as OpenSSH speaks it): built, cut from a stream, taken
// apart. What comes in comes from elsewhere: every length is checked. Pure.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace deployrun::ssh::sftp {

enum class Type : std::uint8_t {
  init = 1,
  version = 2,
  open = 3,
  close = 4,
  read = 5,
  write = 6,
  lstat = 7,
  fstat = 8,
  setstat = 9,
  fsetstat = 10,
  opendir = 11,
  readdir = 12,
  remove = 13,
  mkdir = 14,
  rmdir = 15,
  stat = 17,
  rename = 18,
  readlink = 19,
  symlink = 20,
  status = 101,
  handle = 102,
  data = 103,
  name = 104,
  attributes = 105,
  extended = 200,
};

inline constexpr std::uint32_t kOk = 0;
inline constexpr std::uint32_t kEof = 1;
inline constexpr std::uint32_t kNoSuchFile = 2;

inline constexpr std::uint32_t kRead = 1;
inline constexpr std::uint32_t kWrite = 2;
inline constexpr std::uint32_t kCreate = 8;
inline constexpr std::uint32_t kExclusive = 32;

/// Every server takes and gives so many bytes of a file at once.
inline constexpr std::size_t kPiece = 32U << 10U;
/// Larger packets than OpenSSH's own limit are refused.
inline constexpr std::size_t kPacketLimit = 256U << 10U;

struct Owner {
  std::uint32_t user = 0;
  std::uint32_t group = 0;
};

/// What is set is sent, and what was sent is set.
struct Attributes {
  std::optional<std::uint64_t> size;
  std::optional<Owner> owner;
  std::optional<mode_t> mode;  ///< with the bits of the file's type, where a server sends it
  std::optional<std::uint32_t> modified;
};

struct Name {
  std::string name;
  Attributes attributes;
};

struct Answer {
  Type type = Type::status;
  std::uint32_t id = 0;
  std::uint32_t code = kOk;  ///< of a status
  std::string text;          ///< of a status: its words; a handle; data
  std::vector<Name> names;
  Attributes attributes;
};

struct Version {
  std::uint32_t number = 0;
  std::set<std::string> extensions;
};

/// A request without its length, type and number, which whoever sends it adds.
struct Request {
  Type type;
  std::string body;
};

Request open_file(std::string_view path, std::uint32_t flags, const Attributes& attributes = {});
Request close(std::string_view handle);
Request read(std::string_view handle, std::uint64_t offset, std::uint32_t count);
Request write(std::string_view handle, std::uint64_t offset, std::string_view bytes);
/// `stat` follows symlinks, `lstat`, `opendir`, `remove`, `rmdir`, `readlink` need nothing else either.
Request on_path(Type type, std::string_view path);
/// `fstat`, `readdir`.
Request on_handle(Type type, std::string_view handle);
Request set(std::string_view path, const Attributes& attributes);
Request set_handle(std::string_view handle, const Attributes& attributes);
/// Of a symlink itself (lsetstat@openssh.com).
Request set_link(std::string_view path, const Attributes& attributes);
Request make_folder(std::string_view path, mode_t mode);
/// Refused where something is there already.
Request rename(std::string_view from, std::string_view to);
/// Replaces what is there (posix-rename@openssh.com).
Request rename_over(std::string_view from, std::string_view to);
/// Onto the disk (fsync@openssh.com).
Request sync(std::string_view handle);
/// In OpenSSH's order of the arguments, which is not the draft's.
Request symlink(std::string_view target, std::string_view path);

/// The whole packet. Numbers are the asker's own.
std::string packet(const Request& request, std::uint32_t id);
std::string init_packet();

/// Nothing for what is no answer.
std::optional<Answer> parse_answer(std::string_view packet);
std::optional<Version> parse_version(std::string_view packet);

/// Cuts a stream into packets.
class Packets {
 public:
  void feed(std::string_view bytes) { bytes_ += bytes; }
  /// The next whole one, without its length; it lasts until the next call. Nothing: more has to come, or `broken`.
  std::optional<std::string_view> next();
  bool broken() const noexcept { return broken_; }

 private:
  std::string bytes_;
  std::size_t taken_ = 0;
  bool broken_ = false;
};

}  // namespace deployrun::ssh::sftp
