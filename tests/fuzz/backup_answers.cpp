// What stores answer, what their files are called and hold, and plans.
#include <sys/mman.h>
#include <unistd.h>

#include "backup/name.hpp"
#include "backup/packed.hpp"
#include "backup/plan.hpp"
#include "backup/xml.hpp"
#include "fuzz.hpp"

namespace deployrun::fuzz {

constexpr std::size_t kLongestFrame = 400;

void try_input(std::string_view bytes) {
  if (const auto name = backup::parse_name("shop", bytes)) check(backup::file_of("shop", *name) == bytes);
  for (const char* element : {"Contents", "Key", "Error"}) {
    for (const auto content : backup::xml_elements(bytes, element)) (void)backup::xml_text(content, "Key");
    (void)backup::xml_text(bytes, element);
  }
  const std::string escaped = "<a>" + backup::xml_escape(bytes) + "</a>";
  check(backup::xml_text(escaped, "a") == bytes);
  if (const auto plan = backup::parse_plan(bytes, "/home")) check(backup::is_plan_name(plan->name));

  if (bytes.size() > kLongestFrame) return;  // each four bytes of one may stand for 128 KiB
  static const std::string kFolder = [] {
    std::string folder = "/tmp/fuzz-backup-XXXXXX";
    check(::mkdtemp(folder.data()) != nullptr);
    return folder;
  }();
  static const backup::Stop kGo{false};
  const int file = ::memfd_create("backup", MFD_CLOEXEC);
  check(file >= 0 && ::write(file, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  (void)backup::unpack("/proc/self/fd/" + std::to_string(file), kFolder + "/out", "", kGo);
  ::unlink((kFolder + "/out").c_str());
  ::close(file);
}

}  // namespace deployrun::fuzz
