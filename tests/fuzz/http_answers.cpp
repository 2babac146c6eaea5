// What a server may answer to a request, over a stream: libcurl and what we do around it.
#include <optional>

#include "fuzz.hpp"
#include "http/call.hpp"
#include "http/expect.hpp"
#include "json/json.hpp"

namespace deployrun::fuzz {
namespace {

/// Answers everything with the same bytes, in pieces, then ends.
class Answer final : public core::Stream {
 public:
  explicit Answer(std::string_view bytes) : pieces_(pieces(bytes)) {}
  void read(Read done) override { done(at_ < pieces_.size() ? std::string(pieces_[at_++]) : std::string{}); }
  void write(std::string, Written done) override { done(core::Unit{}); }
  void end_write() override {}
  void close() noexcept override {}

 private:
  std::vector<std::string_view> pieces_;
  std::size_t at_ = 0;
};

struct World {
  core::Loop loop;
  http::Client client{loop};
};

}  // namespace

void try_input(std::string_view bytes) {
  static World world;
  core::Loop& loop = world.loop;
  const auto route = world.client.route([bytes](auto done) -> std::shared_ptr<void> {
    auto token = std::make_shared<int>(0);
    world.loop.defer([bytes, done, alive = std::weak_ptr<int>(token)] {
      if (!alive.expired()) done(std::unique_ptr<core::Stream>(std::make_unique<Answer>(bytes)));
    });
    return token;
  });
  std::optional<core::Result<http::Reply>> reply;
  {
    http::Call call(world.client,
                    {.url = "http://engine/v1.41/info", .max_body = 64U << 10U, .max_redirects = 2, .route = route});
    call.start([&](core::Result<http::Reply> result) { reply.emplace(std::move(result)); });
    core::Timer limit(loop);
    bool late = false;
    limit.start(core::Milliseconds(5000), [&] { late = true; });
    while (!reply && !late) uv_run(loop.raw(), UV_RUN_ONCE);
    check(!late);
  }
  uv_run(loop.raw(), UV_RUN_NOWAIT);
  check(reply.has_value());
  if (!*reply) return check(!reply->error().kind.empty());
  check((*reply)->body.size() <= 64U << 10U);
  http::Expectation expectation;
  expectation.body_contains = "ok";
  expectation.headers = {{"x-version", "v1"}};
  expectation.fields = {{"checks.database", "ok"}};
  (void)http::unmet(expectation, **reply);
  (void)http::summary(**reply);
}

}  // namespace deployrun::fuzz
