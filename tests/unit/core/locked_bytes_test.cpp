#include "core/locked_bytes.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/secret.hpp"
#include "lock_limit.hpp"

using namespace deployrun::core;

namespace {

/// What the kernel says of the mapping that holds this address: its line of VmFlags, and how many kB of it are locked.
struct Mapping {
  std::string flags;
  long locked = 0;
};
Mapping mapping_of(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  Mapping found;
  bool here = false;
  for (std::string line; std::getline(maps, line);) {
    unsigned long from = 0;
    unsigned long to = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &from, &to) == 2) {
      here = reinterpret_cast<std::uintptr_t>(address) - from < to - from;
    } else if (here && line.rfind("Locked:", 0) == 0) {
      found.locked = std::strtol(line.c_str() + 7, nullptr, 10);
    } else if (here && line.rfind("VmFlags:", 0) == 0) {
      found.flags = line.substr(8) + " ";
    }
  }
  return found;
}

bool has(const Mapping& mapping, const std::string& flag) {
  return mapping.flags.find(" " + flag + " ") != std::string::npos;
}

/// The exit code of `work` in a child.
template <class Work>
int in_child(Work work) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(work());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("a secret's pages are locked, in no core dump, and empty in a forked child") {
  const Secret secret("DB_PASSWORD", std::string("hunter2-hunter2"));
  const Mapping mapping = mapping_of(secret.reveal().data());
  INFO(mapping.flags);
  CHECK(lock_refused() == 0);
  CHECK(has(mapping, "lo"));
  CHECK(mapping.locked > 0);
  CHECK(has(mapping, "dd"));
  CHECK(has(mapping, "wf"));
  CHECK(in_child([&] { return secret.reveal()[0] == '\0' ? 0 : 1; }) == 0);
  CHECK(secret.reveal() == "hunter2-hunter2");
}

TEST_CASE("bytes are zeroed when they are let go of, and their pages go back with the last of them") {
  std::optional<LockedBytes> kept(std::in_place, "kept");
  std::optional<LockedBytes> gone(std::in_place, "gone-gone-gone");
  const std::string_view where = gone->view();
  gone.reset();
  for (const char byte : where) CHECK(byte == '\0');  // in the same pages as `kept`
  CHECK(kept->view() == "kept");

  const LockedBytes large(std::string(100'000, 'x'));  // begins pages of its own
  CHECK(large.view() == std::string(100'000, 'x'));
  const void* before = kept->view().data();
  CHECK(has(mapping_of(before), "dd"));
  kept.reset();
  CHECK_FALSE(has(mapping_of(before), "dd"));
  CHECK(LockedBytes("").view().empty());
}

TEST_CASE("many small ones share pages") {
  std::vector<std::unique_ptr<LockedBytes>> all;
  for (int i = 0; i < 3000; ++i) all.push_back(std::make_unique<LockedBytes>("value " + std::to_string(i)));
  for (int i = 0; i < 3000; ++i) CHECK(all[i]->view() == "value " + std::to_string(i));
  std::set<std::uintptr_t> pages;
  for (const auto& each : all) pages.insert(reinterpret_cast<std::uintptr_t>(each->view().data()) / 4096);
  CHECK(pages.size() < 16);  // 28 kB
}

TEST_CASE("where the system locks no memory a secret works all the same") {
  const auto work = [] {
    if (!test::lock_no_memory()) return 10;
    const Secret secret("BIG", std::string(200'000, 's'));  // new pages
    if (secret.reveal() != std::string(200'000, 's')) return 12;
    return lock_refused() != 0 ? 0 : 13;
  };
  CHECK(in_child(work) == 0);
}
