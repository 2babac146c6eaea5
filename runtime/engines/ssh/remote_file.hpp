// What all transfers share: how paths and scripts become commands, and their exit codes errors. For ssh/ alone.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "core/loop.hpp"

namespace deployrun::ssh {

// What the transfers' scripts end with, apart from what cat, mv and the rest say themselves.
inline constexpr int kFileNotFound = 94;
inline constexpr int kFileIsDirectory = 95;
inline constexpr int kFileTakenAway = 96;
inline constexpr int kFileDiffers = 97;
inline constexpr int kFileExists = 93;
inline constexpr int kNoTool = 92;

/// `sum`: the SHA-256 of stdin in hexadecimal, by whatever the host has; openssl first, because it uses the processor's
/// own instructions. Without any: "-", then the bytes themselves.
extern const char* const kSumFunction;
/// `need PROGRAM…`: ends with kNoTool where one is missing.
extern const char* const kNeedFunction;
/// Comes first on the stdin of a script that takes bytes, and is read away by `read -r _`: something else that is
/// started in its place, an SFTP server above all, makes nothing of it and ends before it sees the bytes.
inline constexpr const char* kInputGuard = "deployrun\n";
/// `give OWNER PATH REPLACED`: the owner that is asked for, else the replaced file's where we may.
extern const char* const kGiveFunction;

/// No remote path begins with '-': half of the tools would take it for an option. Throws Failure (`usage`).
std::string safe_path(std::string path);
/// The same for a folder that is to be made or replaced: without a slash at its end, and with a name.
std::string safe_folder(std::string path);
/// "/" for what lies there; "." for a bare name.
std::string folder_of(const std::string& path);
/// `sh -c text` with $1 ….
std::vector<std::string> script(const std::string& text, std::vector<std::string> arguments);
/// "644" of a mode; empty without one.
std::string mode_text(const std::optional<mode_t>& mode);
mode_t parse_mode(std::string_view text);
/// Kinds `ssh.not_found`, `ssh.directory`, `ssh.transfer`; details `code`, `stderr`. `what` is "write /etc/x on web-1".
core::Error transfer_failure(const std::string& what, const std::string& host, int code, const std::string& err);

/// How far a transfer is.
using OnProgress = std::function<void(std::uint64_t bytes, std::uint64_t total)>;

/// Tells it some ten times a second, and the end.
class ProgressMeter {
 public:
  explicit ProgressMeter(OnProgress tell) : tell_(std::move(tell)) {}
  void begin(std::uint64_t total) { total_ = total; }
  void add(std::uint64_t bytes);
  std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  OnProgress tell_;
  std::uint64_t bytes_ = 0;
  std::uint64_t total_ = 0;
  core::Instant told_{};
};

}  // namespace deployrun::ssh
