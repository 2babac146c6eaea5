// Which methods a connection may use: what we offer, and which of a server's answers libssh2 1.11.1 must not get to
// see.
#pragma once

#include <libssh2.h>

#include <string>

#include "ssh/hello.hpp"

namespace deployrun::ssh {

/// Before the handshake. `host_keys`: types, separated by commas.
void offer_methods(LIBSSH2_SESSION* session, const std::string& host_keys);

/// Why these methods of a server are refused; empty: they are not. libssh2 1.11.1 calls through a null pointer where
///   - the only key exchange in common is one of the markers that a client puts in its list (RFC 8308 §2.2 and
///     OpenSSH's strict key exchange), which it takes for a method;
///   - ChaCha20-Poly1305 is agreed on for one direction alone.
std::string why_refused(const ServerHello& hello);

/// After the handshake: another key exchange on this connection has to agree on the same ciphers.
void keep_methods(LIBSSH2_SESSION* session);

}  // namespace deployrun::ssh
