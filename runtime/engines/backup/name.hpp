// What a backup is called: its database, the moment when it was begun and the SHA-256 of its bytes. The name is all
// that has to be known of it: it is as good as its name says, or it is damaged.
//
//   shop-20261127T045654.123Z-<64 hexadecimal digits>.sqlite3.zst
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace deployrun::backup {

struct Name {
  std::int64_t made = 0;  ///< milliseconds since 1970, by the server's clock, before the copy was begun
  std::string sha256;     ///< of the compressed bytes, hexadecimal
};

/// "20261127T045654.123Z": what people call a backup by.
std::string id_of(const Name& name);
/// The file of a plan's backup.
std::string file_of(std::string_view plan, const Name& name);
/// Nothing where `file` is no backup of this plan.
std::optional<Name> parse_name(std::string_view plan, std::string_view file);
/// Whether something may be called so: letters, digits, `_`, `.` and `-`, not `.` first.
bool is_plan_name(std::string_view text);

}  // namespace deployrun::backup
