#include "http/wait_healthy.hpp"

#include <algorithm>

#include "core/duration.hpp"
#include "http/probe.hpp"

namespace deployrun::http {

WaitHealthy::WaitHealthy(Client& client, Request request, Expectation expectation, Patience patience)
    : client_(client),
      request_(as_probe(std::move(request))),
      expectation_(std::move(expectation)),
      patience_(std::move(patience)),
      pause_timer_(client.loop()),
      attempt_timer_(client.loop()),
      deadline_timer_(client.loop()),
      random_(patience_.seed != 0 ? patience_.seed : std::random_device{}()) {}

double WaitHealthy::elapsed_ms() const {
  return std::chrono::duration<double, std::milli>(core::Loop::now() - begun_).count();
}

void WaitHealthy::start(Done done) {
  done_ = std::move(done);
  begun_ = core::Loop::now();
  if (patience_.within) deadline_timer_.start(*patience_.within, [this] { give_up(); });
  attempt();
}

void WaitHealthy::attempt() {
  asking_ = true;
  asked_ = core::Loop::now();
  call_ = std::make_unique<Call>(client_, request_);
  attempt_timer_.start(patience_.attempt_timeout, [this] {
    asking_ = false;
    call_.reset();
    last_status_ = 0;
    failed("no answer within " + core::format_duration(patience_.attempt_timeout),
           delay(patience_.interval, patience_.share));
  });
  call_->start([this](core::Result<Reply> reply) { answered(std::move(reply)); });
}

void WaitHealthy::answered(core::Result<Reply> reply) {
  asking_ = false;
  attempt_timer_.cancel();
  if (!reply) {
    if (reply.error().is("usage")) return finish(std::move(reply).error());
    last_status_ = 0;
    // The address is in the error's message already; the story repeats only what came back.
    const core::Error& error = reply.error();
    std::string text = error.message;
    const std::string prefix = request_.method + " " + shown_url(request_.url) + ": ";
    if (text.rfind(prefix, 0) == 0) text.erase(0, prefix.size());
    if (error.cause) text += ": " + error.cause->message;
    if (!error.is("http.connect")) return failed(excerpt(text), delay(patience_.interval, patience_.share));
    const auto spent = std::chrono::duration_cast<core::Milliseconds>(core::Loop::now() - asked_);
    const auto pause = delay(std::min(patience_.refused_interval, patience_.interval), patience_.refused_share);
    return failed(excerpt(text), std::max(pause - spent, core::Milliseconds(0)));
  }
  last_status_ = reply->status;
  const auto why = unmet(expectation_, *reply);
  if (why) {
    const bool only_status = why->rfind("status ", 0) == 0;
    return failed(only_status ? summary(*reply) : summary(*reply) + ": " + *why,
                  delay(patience_.interval, patience_.share));
  }
  history_.add(elapsed_ms(), std::to_string(reply->status) + " healthy");
  if (++in_a_row_ < patience_.successes) {
    return pause(patience_.interval);
  }
  finish(Healthy{std::move(*reply), history_.attempts(), elapsed_ms(), history_.text()});
}

void WaitHealthy::failed(std::string text, core::Milliseconds wait) {
  in_a_row_ = 0;
  history_.add(elapsed_ms(), std::move(text));
  if (patience_.on_failure) {
    const auto took = std::chrono::duration<double, std::milli>(core::Loop::now() - asked_).count();
    patience_.on_failure(history_.attempts(), history_.last(), took);
  }
  pause(wait);
}

core::Milliseconds WaitHealthy::delay(core::Milliseconds interval, double share) const {
  const core::Milliseconds grown(static_cast<std::int64_t>(elapsed_ms() * share));
  return std::clamp(grown, interval, std::max(interval, patience_.max_interval));
}

void WaitHealthy::pause(core::Milliseconds delay) {
  std::uniform_real_distribution<double> share(1.0 - patience_.jitter, 1.0 + patience_.jitter);
  const auto wait = std::chrono::duration<double, std::milli>(delay) * share(random_);
  pause_timer_.start(std::chrono::round<core::Milliseconds>(wait), [this] { attempt(); });
}

void WaitHealthy::give_up() {
  const auto waited = std::chrono::round<core::Milliseconds>(core::Loop::now() - asked_);
  // An attempt that has only just begun tells nothing that those before it did not.
  if (asking_ && (history_.attempts() == 0 || waited >= patience_.interval)) {
    history_.add(elapsed_ms(), "no answer yet after " + core::format_duration(waited));
    last_status_ = 0;
  }
  core::Error error{.kind = "http.unhealthy", .host = request_.host};
  error.message = shown_url(request_.url) + ": not healthy within " + core::format_duration(*patience_.within) + ": " +
                  std::to_string(history_.attempts()) + " attempts, last: " + history_.last();
  error.details = {{"attempts", static_cast<std::int64_t>(history_.attempts())},
                   {"ms", elapsed_ms()},
                   {"status", static_cast<std::int64_t>(last_status_)},
                   {"first", history_.first()},
                   {"last", history_.last()},
                   {"history", history_.text()}};
  finish(std::move(error));
}

void WaitHealthy::cancel() noexcept {
  if (done_) finish(core::cancelled(shown_url(request_.url) + ": cancelled while waiting for it to be healthy"));
}

void WaitHealthy::finish(core::Result<Healthy> result) {
  pause_timer_.cancel();
  attempt_timer_.cancel();
  deadline_timer_.cancel();
  call_.reset();
  auto done = std::move(done_);
  done_ = nullptr;
  done(std::move(result));
}

}  // namespace deployrun::http
