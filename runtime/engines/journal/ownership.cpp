#include "journal/ownership.hpp"

#include <unistd.h>

#include <array>
#include <utility>

#include "json/json.hpp"

namespace deployrun::journal {

namespace {

Holder holder_of(const std::string& text) {
  auto said = json::parse(text);
  if (!said || !said->is_object()) return {};
  try {
    return {.run = said->value("run", ""), .pid = said->value("pid", std::int64_t{0}), .host = said->value("host", "")};
  } catch (const json::Json::exception&) {  // not what we write: nothing to tell
    return {};
  }
}

core::Error busy(const Holder& holder) {
  core::Error error{.kind = "journal.busy",
                    .message = "another run is in progress",
                    .hint = "wait until it is done, or end that process"};
  if (!holder.run.empty()) error.message = "run " + holder.run + " is in progress";
  if (holder.pid != 0)
    error.message += ", pid " + std::to_string(holder.pid) + (holder.host.empty() ? "" : " on " + holder.host);
  error.details["run"] = holder.run;
  error.details["pid"] = holder.pid;
  error.details["holder_host"] = holder.host;
  return error;
}

core::Error failed(core::Error cause) {
  return core::wrap({.kind = "journal.io", .message = "lock the journal"}, std::move(cause));
}

}  // namespace

core::Result<Ownership> Ownership::acquire(const std::string& path) {
  auto lock = core::FileLock::try_acquire(path);
  if (!lock) return failed(std::move(lock).error());
  if (*lock) return Ownership(std::move(**lock));
  auto holder = look(path);
  return busy(holder && *holder ? **holder : Holder{});
}

core::Result<std::optional<Holder>> Ownership::look(const std::string& path) {
  auto text = core::FileLock::look(path);
  if (!text) return failed(std::move(text).error());
  return *text ? std::optional<Holder>(holder_of(**text)) : std::optional<Holder>();
}

void Ownership::announce(const std::string& run) noexcept {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  lock_.announce(json::dump({{"run", run}, {"pid", ::getpid()}, {"host", host.data()}}) + "\n");
}

}  // namespace deployrun::journal
