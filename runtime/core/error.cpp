#include "core/error.hpp"

namespace deployrun::core {

Error wrap(Error outer, Error cause) {
  if (outer.host.empty()) outer.host = cause.host;
  if (outer.step.empty()) outer.step = cause.step;
  outer.cause = std::make_shared<const Error>(std::move(cause));
  return outer;
}

std::string describe(const Error& error) {
  std::string text = error.kind + ": " + error.message;
  for (const Error* cause = error.cause.get(); cause != nullptr; cause = cause->cause.get()) {
    text += "\n  caused by " + cause->kind + ": " + cause->message;
  }
  return text;
}

}  // namespace deployrun::core
