// This machine's files, on the pool. Writing is atomic: readers see the old file or the new one, never a part.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/loop.hpp"
#include "core/operation.hpp"

namespace deployrun::core {

enum class FileType { file, directory, symlink, other };

struct FileStat {
  FileType type = FileType::other;
  std::uint64_t size = 0;  ///< bytes
  mode_t mode = 0;         ///< permission bits (07777)
  uid_t uid = 0;
  gid_t gid = 0;
  std::int64_t modified = 0;  ///< seconds since 1970, UTC
};

struct DirectoryEntry {
  std::string name;
  FileType type = FileType::other;
};

struct WriteOptions {
  mode_t mode = 0600;
  bool make_parents = false;  ///< missing folders above it are made, 0700
};

/// What a failed call means: kind, path, errno. `what`: "read", "write" …
Error file_error(const std::string& what, const std::string& path, int code);
/// An error without kind for a path that can be one.
Error check_path(const char* what, const std::string& path);
/// The folder that a path is in.
std::string folder_of(const std::string& path);

/// Kinds of all of them: `files.not_found`, `files.denied`, `files.too_large`, `files.io` (details `path`, `errno`).
/// The *_now forms block and are for start-up and pool jobs; the others are operations.
Result<std::string> read_file_now(const std::string& path, std::size_t limit);
/// Writes beside the target under a fresh name (O_EXCL, O_NOFOLLOW), syncs, renames over it and syncs the folder. A
/// symlink at `path` is replaced, not followed.
Result<Unit> write_file_now(const std::string& path, std::string_view bytes, const WriteOptions& options = {});
/// The thing itself, a symlink is not followed; nothing when it does not exist.
Result<std::optional<FileStat>> stat_file_now(const std::string& path);
/// A file, a symlink or an empty folder; with `recursive` a folder and all in it, following no symlink. True when it
/// was there.
Result<bool> remove_file_now(const std::string& path, bool recursive = false);
/// With everything missing above it; existing ones are left alone. True when the last one was made.
Result<bool> make_directories_now(const std::string& path, mode_t mode = 0755);
/// Sorted by name, without . and ..
Result<std::vector<DirectoryEntry>> list_directory_now(const std::string& path);

std::unique_ptr<Operation<std::string>> read_file(Loop& loop, std::string path, std::size_t limit);
std::unique_ptr<Operation<Unit>> write_file(Loop& loop, std::string path, std::string bytes, WriteOptions options = {});
std::unique_ptr<Operation<std::optional<FileStat>>> stat_file(Loop& loop, std::string path);
std::unique_ptr<Operation<bool>> remove_file(Loop& loop, std::string path, bool recursive = false);
std::unique_ptr<Operation<bool>> make_directories(Loop& loop, std::string path, mode_t mode = 0755);
std::unique_ptr<Operation<std::vector<DirectoryEntry>>> list_directory(Loop& loop, std::string path);

}  // namespace deployrun::core
