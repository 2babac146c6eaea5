// The parameters of one request, checked: a wrong one is a `usage` error that names it.
#pragma once

#include <set>
#include <string>

#include "agent/protocol.hpp"

namespace deployrun::agent {

/// Every call throws core::Failure (`usage`).
class Params {
 public:
  Params(std::string method, const Json& json);

  std::string text(const char* name);
  bool flag(const char* name, bool fallback);
  std::int64_t integer(const char* name);
  core::Milliseconds patience();
  sqlite::Values values();
  const Json& array(const char* name);
  /// Refuses what nobody asked for.
  void finish() const;

 private:
  const Json* find(const char* name);
  [[noreturn]] void refuse(const std::string& why) const;

  std::string method_;
  const Json& json_;
  std::set<std::string> known_;
};

}  // namespace deployrun::agent
