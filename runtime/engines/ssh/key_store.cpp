#include "ssh/key_store.hpp"

#include <functional>
#include <string_view>

#include "core/files.hpp"
#include "core/pool.hpp"

namespace deployrun::ssh {
namespace {

core::Result<std::string> text_of(const IdentityFile& identity) {
  if (identity.data) return std::string(identity.data->reveal());
  return core::read_file_now(identity.path, kKeyFileLimit);
}

core::Result<KeyFile> read_key(const IdentityFile& identity, const std::optional<core::Secret>& passphrase) {
  const std::string& path = identity.path;
  auto text = text_of(identity);
  if (!text) return text.error();
  // ssh(1) takes a public key too, for the agent to find its half.
  std::string named = parse_public_key(*text);
  if (!named.empty()) return KeyFile{.key = nullptr, .public_blob = std::move(named), .encrypted = false};
  auto file = parse_key(*text, passphrase ? passphrase->reveal() : std::string_view{});
  core::wipe(*text);
  if (!file) {
    core::Error error = file.error();
    error.message = path + ": " + error.message;
    return error;
  }
  if (file->public_blob.empty() && !identity.data) {
    const auto beside = core::read_file_now(path + ".pub", kKeyFileLimit);
    if (beside) file->public_blob = parse_public_key(*beside);
  }
  return file;
}

}  // namespace

void KeyStore::load(const IdentityFile& file, const std::optional<core::Secret>& passphrase,
                    const std::shared_ptr<void>& token, Loaded loaded) {
  // A passphrase opens what was closed without; a wrong one is not kept for the next host's right one.
  // Several keys that lie in no file may be called the same.
  const std::string own = file.data ? std::to_string(std::hash<std::string_view>{}(file.data->reveal())) : "";
  const std::string id = file.path + own + (passphrase ? "\n" + passphrase->name() : "");
  Entry& entry = entries_[id];
  if (entry.result) return loaded(*entry.result);
  entry.waiting.emplace_back(token, std::move(loaded));
  if (entry.job) return;
  entry.job =
      std::make_unique<core::PoolJob<KeyFile>>(loop_, [file, passphrase] { return read_key(file, passphrase); });
  entry.job->start([this, id](core::Result<KeyFile> result) {
    Entry& mine = entries_[id];
    mine.result.emplace(std::move(result));
    auto waiting = std::exchange(mine.waiting, {});
    const core::Result<KeyFile> kept = *mine.result;
    loop_.defer([job = std::shared_ptr<core::Operation<KeyFile>>(std::move(mine.job))] {});
    for (const auto& [holder, waiter] : waiting) {
      if (const auto alive = holder.lock()) waiter(kept);
    }
  });
}

}  // namespace deployrun::ssh
