#include "ssh/login.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/pool.hpp"
#include "core/quote.hpp"
#include "core/text.hpp"
#include "ssh/wire.hpp"

namespace deployrun::ssh {
namespace {

std::string join(const std::vector<std::string>& list) {
  std::string text;
  for (const std::string& one : list) text += (text.empty() ? "" : ", ") + one;
  return text;
}

std::string place(const KnownKey& key) { return key.file + ":" + std::to_string(key.line); }

}  // namespace

Login::Login(core::Loop& loop, std::shared_ptr<Client> client, Target target)
    : loop_(loop),
      client_(std::move(client)),
      target_(std::move(target)),
      handshake_(loop, client_, target_),
      agent_(target_.agent.empty() ? nullptr : std::make_unique<Agent>(loop, target_.agent)),
      finder_(client_->keys, target_, agent_.get()) {}

Login::~Login() {
  if (transport_ && step_ != Step::over) {
    transport_->remove(this);
    transport_->fail(core::cancelled());
  }
}

void Login::start(Done done) {
  done_ = std::move(done);
  const unsigned known_port = target_.key_alias ? 22 : target_.port;
  known_job_ = std::make_unique<core::PoolJob<std::vector<KnownKey>>>(
      loop_, [files = target_.known_hosts, name = target_.key_name, known_port] {
        return read_known_keys(files, name, known_port);
      });
  known_job_->start([this](core::Result<std::vector<KnownKey>> known) {
    if (!done_) return;
    if (!known) return finish(known.error());
    known_ = std::move(known).value();
    handshake_.prefer(host_key_preference(known_));
  });
  finder_.start([this](Identities identities) {
    identities_ = std::move(identities);
    if (step_ == Step::identities) authenticate();
  });
  handshake_.start([this](core::Result<Greeted> greeted) {
    if (!done_) return;
    if (!greeted) {
      const auto types = greeted.error().details.find("host_keys");
      if (types != greeted.error().details.end() && knows_type(known_)) {
        return finish(no_known_type(greeted.error(), std::get<std::string>(types->second)));
      }
      return finish(greeted.error());
    }
    transport_ = std::move(greeted->transport);
    address_ = std::move(greeted->address);
    door_ = std::move(greeted->door);
    transport_->add(this);
    check_host_key(greeted->key);
  });
}

void Login::cancel() noexcept {
  if (done_) finish(core::cancelled());
}

bool Login::progress() {
  switch (step_) {
    case Step::keys: return try_key();
    case Step::methods: return ask_methods();
    default: return false;
  }
}

/// Only keys of the types that the host is known by were asked for, and it has none of them.
core::Error Login::no_known_type(const core::Error& error, const std::string& offered) const {
  const auto at = std::find_if(known_.begin(), known_.end(),
                               [](const KnownKey& key) { return key.marker == HostMarker::none && !key.plain_name; });
  const std::string name = known_host_name(target_.key_name, target_.key_alias ? 22 : target_.port);
  core::Error changed{.kind = "ssh.host_changed",
                      .message = name + " has no key of the type it is known by: " + at->type + " " +
                                 fingerprint(at->blob) + " in " + place(*at) + "; it offers " + offered,
                      .hint = "somebody may be in between; if the host was set up anew: ssh-keygen -R " +
                              core::shell_quote(name) + " -f " + core::shell_quote(at->file) + ", then `" + trust() +
                              "`",
                      .host = target_.name,
                      .details = error.details};
  changed.details["file"] = at->file;
  changed.details["line"] = static_cast<std::int64_t>(at->line);
  changed.details["known"] = fingerprint(at->blob);
  return changed;
}

/// The command that makes the host known.
std::string Login::trust() const {
  const bool six = target_.name.find(':') != std::string::npos;
  const std::string host = target_.port == 22
                               ? target_.name
                               : (six ? "[" + target_.name + "]" : target_.name) + ":" + std::to_string(target_.port);
  return "deployrun host trust " + core::shell_quote(host) +
         (target_.known_hosts.empty() ? "" : " --file " + core::shell_quote(target_.known_hosts.front()));
}

void Login::check_host_key(std::string blob) {
  const HostCheck check = check_host(known_, blob);
  if (!blob.empty() && check.verdict == HostVerdict::match) return authenticate();
  const bool new_host =
      check.verdict == HostVerdict::unknown && check.authorities.empty() && !target_.known_hosts.empty();
  if (!blob.empty() && new_host && target_.host_keys == HostKeys::accept_new) return record_host_key(std::move(blob));
  finish(host_key_error(check, blob));
}

void Login::record_host_key(std::string blob) {
  step_ = Step::recording;
  const unsigned port = target_.key_alias ? 22 : target_.port;
  record_job_ = std::make_unique<core::PoolJob<core::Unit>>(
      loop_, [file = target_.known_hosts.front(), name = target_.key_name, port, blob = std::move(blob)] {
        return append_known_host(file, name, port, blob);
      });
  record_job_->start([this](core::Result<core::Unit> recorded) {
    if (!done_) return;
    if (!recorded) return finish(recorded.error());
    authenticate();
  });
}

core::Error Login::host_key_error(const HostCheck& check, const std::string& blob) const {
  const std::string offered = std::string(blob_type(blob)) + " " + fingerprint(blob);
  const std::string name = known_host_name(target_.key_name, target_.key_alias ? 22 : target_.port);
  core::Error error{.host = target_.name};
  error.details["fingerprint"] = fingerprint(blob);
  error.details["key_type"] = std::string(blob_type(blob));
  if (!check.because.empty()) {
    const KnownKey& known = check.because.front();
    error.details["file"] = known.file;
    error.details["line"] = static_cast<std::int64_t>(known.line);
    error.details["known"] = fingerprint(known.blob);
  }
  switch (check.verdict) {
    case HostVerdict::revoked:
      error.kind = "ssh.host_revoked";
      error.message =
          name + " at " + address_ + " shows a revoked key: " + offered + ", " + place(check.because.front());
      error.hint = "do not go on: whoever answers there holds a key that was withdrawn";
      return error;
    case HostVerdict::changed:
    case HostVerdict::changed_type: {
      const KnownKey& known = check.because.front();
      error.kind = "ssh.host_changed";
      error.message = name + " at " + address_ + " shows another key: " + offered + ", known is " + known.type + " " +
                      fingerprint(known.blob) + " in " + place(known);
      error.hint = "somebody may be in between; if the host was set up anew: ssh-keygen -R " + core::shell_quote(name) +
                   " -f " + core::shell_quote(known.file) + ", then `" + trust() + "`";
      return error;
    }
    default: break;
  }
  error.kind = "ssh.host_unknown";
  error.message = name + " at " + address_ + " is not known: it shows " + offered;
  if (!check.authorities.empty()) {
    error.message +=
        "; " + place(check.authorities.front()) + " names a certificate authority for it, which cannot be used";
  }
  error.hint = "compare the fingerprint with the host's, then: `" + trust() +
               "`; or let host_keys = \"accept-new\" write unknown hosts down";
  return error;
}

void Login::authenticate() {
  if (!identities_) {
    step_ = Step::identities;
    return;
  }
  step_ = Step::keys;
  transport_->pump();
}

bool Login::try_key() {
  if (next_ >= identities_->offered.size()) {
    step_ = Step::methods;
    return true;
  }
  const Identity& identity = identities_->offered[next_];
  void* self = this;
  const int code = libssh2_userauth_publickey(transport_->raw(), target_.user.c_str(),
                                              reinterpret_cast<const unsigned char*>(identity.blob.data()),
                                              identity.blob.size(), on_sign, &self);
  if (code == LIBSSH2_ERROR_EAGAIN) return false;
  if (code == 0) {
    transport_->remove(this);
    step_ = Step::over;
    finish(Session::create(std::move(transport_)));
    return true;
  }
  std::string label = identity.label;
  if (signature_.answer && !*signature_.answer) label += ": " + signature_.answer->error().message;
  signature_ = {};
  ++next_;
  if (code == LIBSSH2_ERROR_METHOD_NONE) {
    // libssh2 1.11.1 keeps this key's algorithm for the next key, which could then never be accepted.
    label += ": the server takes no rsa-sha2 signature";
    next_ = identities_->offered.size();
  }
  tried_.push_back(std::move(label));
  if (Transport::fatal(code)) finish(auth_error());
  return true;
}

int Login::on_sign(LIBSSH2_SESSION*, unsigned char** signature, size_t* length, const unsigned char* data,
                   size_t data_length, void** abstract) {
  return static_cast<Login*>(*abstract)->sign(signature, length, {reinterpret_cast<const char*>(data), data_length});
}

int Login::sign(unsigned char** signature, size_t* length, std::string_view data) {
  if (!signature_.asked) {
    signature_.asked = true;
    // RFC 4252 §7: what is signed names the algorithm.
    WireReader reader(data);
    reader.string();  // session id
    reader.byte();
    for (int i = 0; i < 3; ++i) reader.string();  // user, service, "publickey"
    reader.byte();
    const std::string algorithm(reader.string().value_or(std::string_view{}));
    const Identity& identity = identities_->offered[next_];
    if (algorithm == "ssh-rsa") {
      signature_.answer = core::Error{.kind = "ssh.auth", .message = "the server takes only RSA signatures with SHA-1"};
    } else if (identity.key) {
      std::string made = identity.key->sign(algorithm, data);
      if (made.empty()) {
        signature_.answer = core::Error{.kind = "ssh.key", .message = "it cannot sign with " + algorithm};
      } else {
        signature_.answer = std::move(made);
      }
    } else {
      const std::uint32_t flags = algorithm == "rsa-sha2-256" ? 2 : algorithm == "rsa-sha2-512" ? 4 : 0;
      agent_->sign(identity.blob, std::string(data), flags, [this](core::Result<std::string> made) {
        signature_.answer = std::move(made);
        if (transport_) transport_->pump_later();
      });
    }
  }
  if (!signature_.answer) return LIBSSH2_ERROR_EAGAIN;
  if (!*signature_.answer) return LIBSSH2_ERROR_AUTHENTICATION_FAILED;
  const std::string& made = **signature_.answer;
  *signature = static_cast<unsigned char*>(std::malloc(made.size()));  // libssh2 frees it with its default, free()
  if (*signature == nullptr) return LIBSSH2_ERROR_ALLOC;
  std::memcpy(*signature, made.data(), made.size());
  *length = made.size();
  return 0;
}

bool Login::ask_methods() {
  const char* methods =
      libssh2_userauth_list(transport_->raw(), target_.user.c_str(), static_cast<unsigned>(target_.user.size()));
  if (methods == nullptr && libssh2_session_last_errno(transport_->raw()) == LIBSSH2_ERROR_EAGAIN) return false;
  if (methods != nullptr) methods_ = core::clean(methods);
  if (methods == nullptr && libssh2_userauth_authenticated(transport_->raw()) != 0) {
    transport_->remove(this);
    step_ = Step::over;
    finish(Session::create(std::move(transport_)));  // a server that asks for no proof at all
    return true;
  }
  finish(auth_error());
  return true;
}

core::Error Login::auth_error() const {
  core::Error error{.kind = "ssh.auth", .host = target_.name};
  error.message = target_.user + "@" + target_.name + ": ";
  error.message += tried_.empty() ? "there is no key to offer" : "none of these keys was accepted: " + join(tried_);
  if (identities_ && !identities_->skipped.empty()) error.message += "; not offered: " + join(identities_->skipped);
  if (!methods_.empty()) error.message += "; the server takes: " + methods_;
  error.hint = tried_.empty() ? "name a key with `identity`, or load one into the agent (ssh-add)"
                              : "is the public key in " + target_.user +
                                    "'s ~/.ssh/authorized_keys there, with the right permissions?";
  error.details["tried"] = join(tried_);
  error.details["skipped"] = identities_ ? join(identities_->skipped) : std::string{};
  error.details["methods"] = methods_;
  return error;
}

void Login::lost(const core::Error& error) {
  switch (step_) {
    case Step::keys:
    case Step::methods: {
      core::Error failed = auth_error();
      failed.message += "; the server closed the connection";
      return finish(core::wrap(std::move(failed), error));
    }
    default: return finish(error);
  }
}

void Login::finish(core::Result<std::shared_ptr<Session>> result) {
  const auto done = std::exchange(done_, nullptr);
  step_ = Step::over;
  door_.reset();
  handshake_.cancel();
  if (transport_) {
    transport_->remove(this);
    const auto transport = std::exchange(transport_, nullptr);
    transport->fail(core::cancelled());
  }
  if (done) done(std::move(result));
}

}  // namespace deployrun::ssh
