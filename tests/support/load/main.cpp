// lab_load: a load generator that records every request, for tests that claim "no request lost". What the options mean
// is in options.cpp. After the first good answer it writes "started" to stderr, so that a test can wait for it.

#include <curl/curl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>

#include "generator.hpp"
#include "options.hpp"
#include "summary.hpp"

namespace {

int signal_descriptor() {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGTERM);
  sigaddset(&mask, SIGINT);
  sigprocmask(SIG_BLOCK, &mask, nullptr);
  return signalfd(-1, &mask, SFD_CLOEXEC);
}

/// A stalled server collects connections at the full rate: allow as many as the kernel lets us.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int run(const lab_load::Options& options) {
  std::ofstream file;
  if (!options.record.empty()) {
    file.open(options.record);
    if (!file) {
      std::cerr << "lab_load: cannot write " << options.record << "\n";
      return 2;
    }
  }
  lab_load::Summary summary;
  bool started = false;
  lab_load::Generator generator(options, signal_descriptor(), [&](const lab_load::Record& record) {
    summary.add(record);
    if (file.is_open()) file << lab_load::to_json(record) << "\n";
    if (!started && record.error.empty()) {
      started = true;
      std::cerr << "started" << std::endl;
    }
  });
  generator.run();
  std::cout << summary.to_json(options.urls, generator.begin_ms(), generator.end_ms()) << std::endl;
  return summary.any_failed() ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--help") {
    std::cout << lab_load::kUsage;
    return 0;
  }
  std::string error;
  const auto options = lab_load::parse_options(argc, argv, error);
  if (!options) {
    std::cerr << "lab_load: " << error << "\n" << lab_load::kUsage;
    return 2;
  }
  raise_descriptor_limit();
  curl_global_init(CURL_GLOBAL_DEFAULT);
  int code = 2;
  try {
    code = run(*options);
  } catch (const std::runtime_error& why) {
    std::cerr << "lab_load: " << why.what() << "\n";
  }
  curl_global_cleanup();
  return code;
}
