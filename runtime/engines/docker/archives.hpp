// Files into and out of containers, running or not, by way of uncompressed archives.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "docker/client.hpp"
#include "docker/tar.hpp"

namespace deployrun::docker {

struct ArchiveEntry {
  TarMember member;
  std::string bytes;
};
constexpr std::uint64_t kMostArchive = 64U << 20U;

/// A file, or a folder with all in it, as the engine packs it: names begin with the last part of `path`. More than 64
/// MiB is `docker.too_large`; `docker.not_found` for the container and for the path.
Op<std::vector<ArchiveEntry>> get_archive(ClientPtr client, const std::string& name, const std::string& path);
/// Unpacks files and folders into the existing folder `path`. Kind `usage` for names that leave it.
Op<core::Unit> put_archive(ClientPtr client, const std::string& name, const std::string& path,
                           const std::vector<ArchiveEntry>& entries);

}  // namespace deployrun::docker
