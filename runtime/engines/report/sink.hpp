// Where events go. A sink shapes an event for its reader and writes it; it never waits and never fails a run.
#pragma once

#include "core/loop.hpp"
#include "json/json.hpp"

namespace deployrun::report {

using json::Json;

class Sink {
 public:
  Sink() = default;
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;
  virtual ~Sink() = default;

  /// `event` is complete (docs/events.md), clean and redacted.
  virtual void event(const Json& event) = 0;
  /// Called about once a second while tasks run, for what has to be said when nothing happens.
  virtual void tick(core::Instant) {}
};

}  // namespace deployrun::report
