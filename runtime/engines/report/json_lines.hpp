// Events for programs: one JSON object per line (docs/events.md).
#pragma once

#include "report/output.hpp"
#include "report/sink.hpp"

namespace deployrun::report {

class JsonLines final : public Sink {
 public:
  /// `output` outlives the sink.
  explicit JsonLines(Output& output);
  void event(const Json& event) override;

 private:
  Output& output_;
};

}  // namespace deployrun::report
