#include "ssh/carrier.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/process.hpp"

namespace deployrun::ssh {

Carrier::Carrier(core::Loop& loop)
    : bridge_(loop, core::Bridge::Ends::either,
              [this](core::Bridge&, std::optional<core::Error> error, bool) { failure_ = std::move(error); }) {}

core::Result<Connected> Carrier::join(core::Loop& loop, std::unique_ptr<core::Stream> stream, std::string address) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
    return core::Error{.kind = "ssh.connect", .message = "connect " + address + ": " + std::strerror(errno)};
  }
  Connected connected;
  connected.socket = Descriptor(ends[0]);
  connected.address = std::move(address);
  connected.carrier = std::make_shared<Carrier>(loop);
  connected.carrier->bridge_.attach(ends[1]);
  connected.carrier->bridge_.join(std::move(stream));
  return connected;
}

void ProxyCommand::start(Done done) {
  const char* shell = std::getenv("SHELL");
  core::ProcessOptions options;
  options.argv = {shell == nullptr || *shell == '\0' ? "/bin/sh" : shell, "-c", "exec " + command_};
  auto stream = core::open_process_stream(loop_, std::move(options));
  if (!stream) return done(stream.error());
  done(Carrier::join(loop_, std::move(stream).value(), "through `" + command_ + "`"));
}

}  // namespace deployrun::ssh
