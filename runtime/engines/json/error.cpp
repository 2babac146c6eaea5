#include "json/error.hpp"

namespace deployrun::json {

Json to_json(const core::Error& error) {
  Json out = Json::object();
  for (const auto& [key, detail] : error.details) {
    std::visit([&out, &key = key](const auto& value) { out[key] = value; }, detail);
  }
  out["kind"] = error.kind;
  out["message"] = error.message;
  if (!error.hint.empty()) out["hint"] = error.hint;
  if (!error.host.empty()) out["host"] = error.host;
  if (!error.step.empty()) out["step"] = error.step;
  if (error.cause) out["cause"] = to_json(*error.cause);
  for (const core::Error& other : error.also) out["also"].push_back(to_json(other));
  return out;
}

}  // namespace deployrun::json
