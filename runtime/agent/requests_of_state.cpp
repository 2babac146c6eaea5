// The requests about a deploy lock and the journals of runs beside it.
#include <utility>

#include "requests.hpp"

namespace deployrun::agent {

template <class Work>
core::Result<Json> Requests::on_state(const std::string& name, Work work) {
  auto folder = keeper_.folder_of(name);
  if (!folder) return std::move(folder).error();
  const std::lock_guard busy(state_busy_);
  auto state = State::open(*folder, false);
  if (!state) return std::move(state).error();
  return *state ? work(**state) : core::Result<Json>(Json(false));
}

/// What was sent is stored, whatever becomes of its sender: nobody asks for the change that it announces otherwise.
core::Result<Json> Requests::journal_append(Params& params, Cancellation&) {
  const std::int64_t claim = params.integer("claim");
  const std::string run = params.text("run");
  const Json& rows = params.array("rows");
  params.finish();
  const std::lock_guard busy(state_busy_);
  auto folder = keeper_.folder_of_held(claim);
  if (!folder) return std::move(folder).error();
  auto state = State::open(*folder, true);
  if (!state) return std::move(state).error();
  auto stored = (*state)->append(run, rows);
  if (!stored) return std::move(stored).error();
  return Json(true);
}

core::Result<Json> Requests::journal_unfinished(Params& params, Cancellation&) {
  const std::string name = params.text("name");
  params.finish();
  return on_state(name, [](State& state) { return state.unfinished(); });
}

core::Result<Json> Requests::journal_read(Params& params, Cancellation&) {
  const std::string name = params.text("name");
  const std::string run = params.text("run");
  params.finish();
  return on_state(name, [&](State& state) { return state.read(run); });
}

core::Result<Json> Requests::journal_releases(Params& params, Cancellation&) {
  const std::string name = params.text("name");
  const std::string service = params.text("service");
  const std::string host = params.text("host");
  const std::int64_t limit = params.integer("limit");
  params.finish();
  return on_state(name, [&](State& state) { return state.releases(service, host, limit); });
}

core::Result<Json> Requests::journal_runs(Params& params, Cancellation&) {
  const std::string name = params.text("name");
  const std::int64_t limit = params.integer("limit");
  params.finish();
  return on_state(name, [&](State& state) { return state.runs(limit); });
}

core::Result<Json> Requests::deploy_lock(const std::string& method, const Json& params, Cancellation& cancellation) {
  if (method == "release" && params.is_object() && params.contains("rows")) return release(params, cancellation);
  auto result = keeper_.answer(method, params, cancellation.stop());
  if (!result && cancellation.stop()) return cancellation.why();
  if (!result || method != "acquire") return result;
  auto unfinished = on_state(params["name"], [](State& state) { return state.unfinished(); });
  if (!unfinished) {
    [[maybe_unused]] const auto released =
        keeper_.answer("release", Json{{"claim", (*result)["claim"]}}, cancellation.stop());
    return unfinished;
  }
  if (unfinished->is_object()) (*result)["unfinished"] = std::move(*unfinished);
  return result;
}

/// The lock is given back even where the last rows cannot be stored; that is told.
core::Result<Json> Requests::release(const Json& params, Cancellation& cancellation) {
  auto stored = answer("journal.append", params, cancellation);
  auto released = keeper_.answer("release", Json{{"claim", params.value("claim", Json(nullptr))}}, cancellation.stop());
  return stored ? released : stored;
}

}  // namespace deployrun::agent
