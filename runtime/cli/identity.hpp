// Who runs this, from where: for the journal and the audit.
#pragma once

#include <string>

namespace deployrun::cli {

struct Identity {
  std::string user;   ///< the operating system's account
  std::string host;   ///< this machine
  std::string actor;  ///< who asked for it in CI; empty elsewhere
};

Identity identity();

}  // namespace deployrun::cli
