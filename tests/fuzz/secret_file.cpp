// `.env` and `.kamal/secrets`.
#include "core/secret_file.hpp"
#include "fuzz.hpp"

namespace deployrun::fuzz {

void try_input(std::string_view bytes) {
  const auto lookup = [](const std::string& name) -> std::optional<std::string> {
    if (name.size() > 3) return {};
    return name;
  };
  const auto secrets = core::parse_secrets(bytes, ".env", lookup);
  if (secrets) {
    for (const core::Secret& secret : *secrets) check(!secret.name().empty());
  } else {
    check(!secrets.error().message.empty() && secrets.error().kind.rfind("secret.", 0) == 0);
  }
}

}  // namespace deployrun::fuzz
