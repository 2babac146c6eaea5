#include "ssh/scan.hpp"

#include <algorithm>
#include <array>

#include "core/pool.hpp"
#include "core/text.hpp"
#include "ssh/wire.hpp"

namespace deployrun::ssh {
namespace {

constexpr std::array<const char*, 4> kTypes = {"ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384",
                                               "ecdsa-sha2-nistp521"};

bool has(const std::vector<std::string>& list, const std::string& one) {
  return std::find(list.begin(), list.end(), one) != list.end();
}

}  // namespace

Scan::Scan(core::Loop& loop, std::shared_ptr<Client> client, ConnectOptions options)
    : loop_(loop), client_(std::move(client)), options_(std::move(options)) {}

void Scan::start(Done done) {
  done_ = std::move(done);
  auto parsed = parse_destination(std::move(options_));
  if (!parsed) return finish(parsed.error());
  options_ = std::move(parsed).value();
  if (!options_.ssh_config) return begin({});
  process_ = std::make_unique<core::Process>(loop_, core::ProcessOptions{.argv = ssh_g_command(options_)});
  process_->start([this](core::Result<core::ProcessResult> ran) {
    if (!done_) return;
    auto configuration = ssh_g_output(options_, ran);
    if (!configuration) return finish(configuration.error());
    begin(*configuration);
  });
}

void Scan::begin(std::string_view configuration) {
  auto target = resolve(options_, parse_ssh_g(configuration), surroundings());
  if (!target) return finish(target.error());
  target_ = std::move(target).value();
  const unsigned port = target_->key_alias ? 22 : target_->port;
  scanned_.name = known_host_name(target_->key_name, port);
  scanned_.files = target_->known_hosts;
  known_job_ = std::make_unique<core::PoolJob<std::vector<KnownKey>>>(
      loop_,
      [files = target_->known_hosts, name = target_->key_name, port] { return read_known_keys(files, name, port); });
  known_job_->start([this](core::Result<std::vector<KnownKey>> known) {
    if (!done_) return;
    if (!known) return finish(known.error());
    known_ = std::move(known).value();
    types_.push_back(host_key_preference({}));
    next();
  });
}

void Scan::next() {
  if (types_.empty()) return finish(std::move(scanned_));
  handshake_ = std::make_unique<Handshake>(loop_, client_, *target_);
  handshake_->prefer(types_.front());
  types_.pop_front();
  handshake_->start([this](core::Result<Greeted> result) {
    if (!done_) return;
    if (!result) return finish(result.error());
    greeted(std::move(result).value());
  });
}

void Scan::greeted(Greeted greeted) {
  ScannedKey key;
  key.type = blob_type(greeted.key);
  key.fingerprint = fingerprint(greeted.key);
  const HostCheck check = check_host(known_, greeted.key);
  key.verdict = check.verdict;
  if (!check.because.empty()) {
    key.place = check.because.front().file + ":" + std::to_string(check.because.front().line);
  }
  key.blob = std::move(greeted.key);
  if (first_) {
    first_ = false;
    scanned_.address = greeted.address;
    scanned_.server = greeted.hello.version;
    for (const char* type : kTypes) {
      if (type != key.type && has(greeted.hello.host_keys, type)) types_.emplace_back(type);
    }
    const bool rsa = has(greeted.hello.host_keys, "rsa-sha2-512") || has(greeted.hello.host_keys, "rsa-sha2-256");
    if (rsa && key.type != "ssh-rsa") types_.emplace_back("rsa-sha2-512,rsa-sha2-256");
  }
  scanned_.keys.push_back(std::move(key));
  greeted.transport->close(core::cancelled());
  // The handshake is not destroyed from inside its own call.
  loop_.defer([this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired() && done_) next();
  });
}

void Scan::cancel() noexcept {
  if (!done_) return;
  if (process_) process_->cancel();
  if (handshake_) handshake_->cancel();
  finish(core::cancelled());
}

void Scan::finish(core::Result<Scanned> result) {
  if (const auto done = std::exchange(done_, nullptr)) done(std::move(result));
}

}  // namespace deployrun::ssh
