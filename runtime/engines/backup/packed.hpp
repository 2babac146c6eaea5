// Files as they are kept: one zstd frame with a checksum, its SHA-256 taken as it passes by. A few megabytes of memory,
// whatever the size.
#pragma once

#include <cstdint>
#include <string>

#include "core/result.hpp"
#include "sqlite/backup.hpp"

namespace deployrun::backup {

using sqlite::Stop;

struct Packed {
  std::string sha256;         ///< of the compressed bytes, hexadecimal
  std::int64_t bytes = 0;     ///< compressed
  std::int64_t contents = 0;  ///< bytes of what is inside
};

/// Compresses `from` into the new file `to` of that mode, which is there whole and synced or not at all.
core::Result<Packed> pack(const std::string& from, const std::string& to, int level, unsigned mode, const Stop& stop);

/// The way back. `backup.corrupt` for what is no whole frame, or is not `sha256` (empty: whatever it is).
core::Result<Packed> unpack(const std::string& from, const std::string& to, const std::string& sha256,
                            const Stop& stop);

/// SHA-256 of some bytes, hexadecimal.
std::string sha256_of(std::string_view bytes);

}  // namespace deployrun::backup
