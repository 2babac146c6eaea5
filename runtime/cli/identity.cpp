#include "cli/identity.hpp"

#include <pwd.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

namespace deployrun::cli {

Identity identity() {
  Identity who;
  std::array<char, 4096> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  if (getpwuid_r(geteuid(), &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr) {
    who.user = found->pw_name;
  } else {
    who.user = std::to_string(geteuid());
  }
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) == 0) who.host = name.data();
  // GitHub Actions and GitLab CI name the person who started the job.
  for (const char* variable : {"GITHUB_ACTOR", "GITLAB_USER_LOGIN"}) {
    if (const char* value = std::getenv(variable); value != nullptr && who.actor.empty()) who.actor = value;
  }
  return who;
}

}  // namespace deployrun::cli
