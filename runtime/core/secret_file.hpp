// Files of secrets as people keep them beside a project (`.env`, `.kamal/secrets`): one NAME=VALUE per line.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"
#include "core/secret.hpp"

namespace deployrun::core {

struct SecretFile {
  std::vector<Secret> secrets;  ///< in the order of the file
  std::string warning;          ///< others may read the file; empty when not
};

/// What `$NAME` means where the file itself does not say; nothing when it is unknown.
using Lookup = std::function<std::optional<std::string>(const std::string& name)>;

/// Lines are blank, `# comment`, or `[export ]NAME=VALUE`. VALUE is 'as it is' (may span lines), "with \n \" \\ \$ and
/// $NAME" (may span lines), or bare: trimmed, ended by ` #`, with $NAME and ${NAME}. Commands in $(…) are refused, not
/// run. Kinds: `secret.file` (details `source`, `line`, `column`, `where`), and `secret.missing` for an unknown $NAME.
/// No message shows any part of a value.
Result<std::vector<Secret>> parse_secrets(std::string_view text, const std::string& source, const Lookup& lookup);

/// Reads the file (at most 1 MiB; blocks: for the pool). $NAME falls back to our environment. Kind `secret.file` also
/// where it cannot be read (cause: `files.*`).
Result<SecretFile> read_secret_file(const std::string& path);

}  // namespace deployrun::core
