// A question to a keeper of this process, asked on the pool.
#pragma once

#include <memory>
#include <string>

#include "core/loop.hpp"
#include "core/operation.hpp"
#include "lock/keeper.hpp"

namespace deployrun::lock {

/// Keeper::answer. Cancelled, it stops to wait, and a claim that came meanwhile is given back.
std::unique_ptr<core::Operation<Json>> call(core::Loop& loop, std::shared_ptr<Keeper> keeper, std::string method,
                                            Json params);

}  // namespace deployrun::lock
