#include "lock/claims.hpp"

#include <sys/random.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

namespace deployrun::lock {

namespace {

constexpr std::string_view kPrefix = "claim-";
constexpr const char* kIdentity = "identity";
constexpr std::size_t kIdentityLength = 16;

std::string name_of(std::uint64_t token) { return std::string(kPrefix) + std::to_string(token); }

}  // namespace

core::Result<Claims> Claims::open(const std::string& folder) {
  auto opened = Folder::open(folder);
  if (!opened) return std::move(opened).error();
  return Claims(std::move(opened).value());
}

core::Result<std::string> Claims::identity() const {
  for (;;) {
    const auto seen = folder_.look(kIdentity);
    if (!seen) return seen.error();
    if (*seen) {
      const std::string& id = (*seen)->text;
      if (id.size() == kIdentityLength && id.find_first_not_of("0123456789abcdef") == id.npos) return id;
      return core::Error{.kind = "lock.corrupt",
                         .message = folder_.path_of(kIdentity) + " is not what deployrun wrote",
                         .hint = "remove the folder once you know that nobody deploys"};
    }
    std::array<unsigned char, kIdentityLength / 2> noise{};
    if (::getrandom(noise.data(), noise.size(), 0) != static_cast<ssize_t>(noise.size())) {
      throw std::system_error(errno, std::generic_category(), "getrandom");
    }
    std::string id;
    for (const unsigned char byte : noise) {
      id += "0123456789abcdef"[byte >> 4U];
      id += "0123456789abcdef"[byte & 15U];
    }
    // Of two that come at once one makes it, and both read that one.
    if (auto added = folder_.add(kIdentity, id, false); !added) return std::move(added).error();
  }
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
