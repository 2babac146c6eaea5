#include "lock/claims.hpp"

#include <utility>

namespace deployrun::lock {

namespace {

constexpr std::string_view kPrefix = "claim-";

std::string name_of(std::uint64_t token) { return std::string(kPrefix) + std::to_string(token); }

}  // namespace

core::Result<Claims> Claims::open(const std::string& folder) {
  auto opened = Folder::open(folder);
  if (!opened) return std::move(opened).error();
  return Claims(std::move(opened).value());
}

core::Result<std::uint64_t> Claims::highest_token() const { return folder_.highest(kPrefix); }

core::Result<std::optional<Found>> Claims::highest() const {
  for (;;) {
    const auto token = highest_token();
    if (!token) return token.error();
    if (*token == 0) return std::optional<Found>();
    const auto seen = folder_.look(name_of(*token));
    if (!seen) return seen.error();
    if (!*seen) continue;  // a higher one has come meanwhile
    auto record = from_text((*seen)->text, *token);
    if (!record) return std::move(record).error();
    return std::optional<Found>(Found{std::move(record).value(), (*seen)->alive});
  }
}

core::Result<std::optional<HeldFile>> Claims::add(const Record& record) const {
  const bool hold = !record.claim.by_hand && !record.released;
  auto file = folder_.add(name_of(record.token), to_text(record), hold);
  if (!file || !*file) return file;
  // Who had looked long ago may come with a token that was used and forgotten.
  const auto now = highest_token();
  if (!now) return now.error();
  if (*now == record.token) return file;
  folder_.remove(name_of(record.token));
  return std::optional<HeldFile>();
}

core::Result<core::Unit> Claims::write_sign(const HeldFile& file, const Record& record, bool durable) const {
  return folder_.overwrite(file, name_of(record.token), sign(record), durable);
}

void Claims::forget_below(std::uint64_t token) const noexcept { folder_.remove_below(kPrefix, token); }

}  // namespace deployrun::lock
