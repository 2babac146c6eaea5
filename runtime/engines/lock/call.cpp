#include "lock/call.hpp"

#include <utility>

#include "core/pool.hpp"

namespace deployrun::lock {

namespace {

class Call final : public core::Operation<Json> {
 public:
  Call(core::Loop& loop, std::shared_ptr<Keeper> keeper, std::string method, Json params)
      : job_(loop, [keeper = std::move(keeper), method = std::move(method), params = std::move(params), stop = stop_] {
          auto result = keeper->answer(method, params, *stop);
          if (*stop && result && result->is_object() && result->contains("claim")) {
            [[maybe_unused]] const auto given_back =
                keeper->answer("release", Json{{"claim", (*result)["claim"]}}, Keeper::Stop(false));
          }
          return result;
        }) {}
  ~Call() override { *stop_ = true; }
  void start(Done done) override { job_.start(std::move(done)); }
  void cancel() noexcept override {
    *stop_ = true;
    job_.cancel();
  }

 private:
  std::shared_ptr<Keeper::Stop> stop_ = std::make_shared<Keeper::Stop>(false);
  core::PoolJob<Json> job_;
};

}  // namespace

std::unique_ptr<core::Operation<Json>> call(core::Loop& loop, std::shared_ptr<Keeper> keeper, std::string method,
                                            Json params) {
  return std::make_unique<Call>(loop, std::move(keeper), std::move(method), std::move(params));
}

}  // namespace deployrun::lock
