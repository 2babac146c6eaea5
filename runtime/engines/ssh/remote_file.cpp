#include "ssh/remote_file.hpp"

#include <charconv>
#include <cstdio>

#include "core/text.hpp"

namespace deployrun::ssh {

const char* const kSumFunction = R"sh(sum() {
  if command -v openssl >/dev/null 2>&1; then openssl dgst -sha256 -r
  elif command -v sha256sum >/dev/null 2>&1; then sha256sum
  elif command -v shasum >/dev/null 2>&1; then shasum -a 256
  else echo - && cat; fi
}
)sh";

const char* const kNeedFunction = R"sh(need() {
  for t; do command -v "$t" >/dev/null 2>&1 || exit 92; done
}
)sh";

const char* const kGiveFunction = R"sh(give() {
  if [ -n "$1" ]; then
    chown "$1" "$2" || exit 98
  elif o=$(stat -Lc %u:%g "$3" 2>/dev/null); then
    chown "$o" "$2" 2>/dev/null || :
  fi
}
)sh";

std::string safe_path(std::string path) {
  if (path.empty() || path.find('\0') != std::string::npos)
    throw core::Failure(core::usage("a remote path is empty or holds a NUL byte"));
  return path.front() == '-' ? "./" + path : path;
}

std::string safe_folder(std::string path) {
  path = safe_path(std::move(path));
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const std::string last = path.substr(path.rfind('/') + 1);
  if (last.empty() || last == "." || last == "..")
    throw core::Failure(core::usage("\"" + path + "\" is no folder to put one in the place of"));
  return path;
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

std::vector<std::string> script(const std::string& text, std::vector<std::string> arguments) {
  std::vector<std::string> argv = {"sh", "-c", text, "sh"};
  argv.insert(argv.end(), std::make_move_iterator(arguments.begin()), std::make_move_iterator(arguments.end()));
  return argv;
}

std::string mode_text(const std::optional<mode_t>& mode) {
  if (!mode) return {};
  char text[16];
  std::snprintf(text, sizeof text, "%o", static_cast<unsigned>(*mode & 07777U));
  return text;
}

mode_t parse_mode(std::string_view text) {
  unsigned mode = 0;
  std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  return static_cast<mode_t>(mode & 07777U);
}

core::Error transfer_failure(const std::string& what, const std::string& host, int code, const std::string& err) {
  core::Error error{.kind = "ssh.transfer", .host = host};
  const std::string said(core::trim(core::clean(core::tail(err, 2048))));
  switch (code) {
    case kFileNotFound:
      error.kind = "ssh.not_found";
      error.message = what + ": no such file (or a folder above it may not be entered)";
      break;
    case kFileIsDirectory:
      error.kind = "ssh.directory";
      error.message = what + ": it is a directory";
      break;
    case kFileTakenAway: error.message = what + ": somebody else removed or replaced its unfinished part"; break;
    case kFileDiffers: error.message = what + ": not all bytes arrived as they were sent"; break;
    case kFileExists: error.message = what + ": something else than a folder is there"; break;
    case kNoTool:
      error.message = what + ": the server lacks programs for it";
      error.hint = "install tar and the usual small programs there, or switch on its SFTP subsystem";
      break;
    default: error.message = what + ": " + (said.empty() ? "failed with code " + std::to_string(code) : said);
  }
  error.details["code"] = std::int64_t{code};
  error.details["stderr"] = said;
  return error;
}

void ProgressMeter::add(std::uint64_t bytes) {
  bytes_ += bytes;
  if (!tell_) return;
  const core::Instant now = core::Loop::now();
  if (bytes_ < total_ && now - told_ < core::Milliseconds(100)) return;
  told_ = now;
  tell_(bytes_, total_);
}

}  // namespace deployrun::ssh
