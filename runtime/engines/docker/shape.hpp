// The engine's answers as the tables that recipes see: snake_case, maps for pairs, no nulls. Pure functions.
#pragma once

#include <functional>
#include <string>

#include "docker/chain.hpp"
#include "json/json.hpp"

namespace deployrun::docker {

using json::Json;

/// The text under `key`, or empty.
std::string text_at(const Json& object, const char* key);

Json image_shape(const Json& raw);
Json image_list_shape(const Json& raw);
Json container_shape(const Json& raw);
Json container_list_shape(const Json& raw);
Json exec_shape(const Json& raw);
Json network_shape(const Json& raw);
Json volume_shape(const Json& raw);
/// `shape` for each of an array's values.
std::function<Json(const Json&)> each(Json (*shape)(const Json&));

/// `operation` with its value passed through `shape`.
inline Op<Json> reshaped(Op<Json> operation, std::function<Json(const Json&)> shape) {
  auto inner = std::make_shared<Op<Json>>(std::move(operation));
  return chain<Json>([inner, shape = std::move(shape)](Chain<Json>& steps) {
    steps.then<Json>(std::move(*inner), [&steps, shape](const Json& raw) { steps.finish(shape(raw)); });
  });
}

}  // namespace deployrun::docker
