// A transport without a network: streams whose other end is a function of the test.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/loop.hpp"
#include "core/operation.hpp"
#include "core/stream.hpp"

namespace deployrun::test {

/// The server's side of one connection; the test holds it, the stream under test shares it.
struct Wire {
  std::string received;  ///< all that the client sent
  std::string outgoing;
  bool ended = false;
  std::optional<core::Error> broken;
  bool closed = false;  ///< by the client
  core::Stream::Read reader;
  std::function<void(Wire&)> on_bytes;
  std::size_t answered = 0;  ///< requests that `serve` has answered

  void push(const std::string& bytes) {
    outgoing += bytes;
    deliver();
  }
  void end() {
    ended = true;
    deliver();
  }
  void fail(core::Error error) {
    broken = std::move(error);
    deliver();
  }
  void deliver() {
    if (!reader || (outgoing.empty() && !ended && !broken)) return;
    auto done = std::move(reader);
    reader = nullptr;
    if (!outgoing.empty()) {
      done(std::exchange(outgoing, {}));
    } else if (broken) {
      done(*broken);
    } else {
      done(std::string{});
    }
  }
};

class ScriptedStream final : public core::Stream {
 public:
  ScriptedStream(core::Loop& loop, std::shared_ptr<Wire> wire) : loop_(loop), wire_(std::move(wire)) {}
  ~ScriptedStream() override { close(); }
  void read(Read done) override {
    REQUIRE_FALSE(wire_->reader);
    wire_->reader = std::move(done);
    wire_->deliver();
  }
  void write(std::string bytes, Written done) override {
    wire_->received += bytes;
    done(core::Unit{});
    loop_.defer([wire = wire_] {
      if (!wire->closed && wire->on_bytes) wire->on_bytes(*wire);
    });
  }
  void end_write() override {}
  void close() noexcept override {
    if (wire_->closed) return;
    wire_->closed = true;
    if (auto reader = std::exchange(wire_->reader, nullptr)) reader(core::cancelled());
  }

 private:
  core::Loop& loop_;
  std::shared_ptr<Wire> wire_;
};

/// Opens a wire per dial; every whole request (with its body by Content-Length) is given to `answer`, whose result is
/// sent.
struct Server {
  using Answer = std::function<std::string(const std::string& request)>;
  core::Loop& loop;
  Answer answer;
  std::vector<std::shared_ptr<Wire>> wires;
  std::vector<std::string> requests;
  std::optional<core::Error> refuse;  ///< what a dial gets

  core::Dial dial() {
    return [this](auto done) -> std::shared_ptr<void> {
      auto token = std::make_shared<int>(0);
      loop.defer([this, done, alive = std::weak_ptr<int>(token)] {
        if (alive.expired()) return;
        if (refuse) return done(*refuse);
        auto wire = std::make_shared<Wire>();
        wire->on_bytes = [this](Wire& one) { serve(one); };
        wires.push_back(wire);
        done(std::unique_ptr<core::Stream>(std::make_unique<ScriptedStream>(loop, wire)));
      });
      return token;
    };
  }
  void serve(Wire& wire) {
    while (true) {
      const std::size_t head = wire.received.find("\r\n\r\n");
      if (head == std::string::npos) return;
      std::size_t length = head + 4;
      if (const std::size_t at = wire.received.find("Content-Length: "); at < head) {
        length += static_cast<std::size_t>(std::stoul(wire.received.substr(at + 16)));
      }
      if (wire.received.size() < length) return;
      const std::string request = wire.received.substr(0, length);
      wire.received.erase(0, length);
      requests.push_back(request);
      ++wire.answered;
      if (const std::string reply = answer(request); !reply.empty()) wire.push(reply);
    }
  }
};

inline std::string http_reply(int status, const std::string& body, const std::string& headers = {}) {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\n" + headers + "Content-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

/// Runs the loop until `ready`; a test that waits for what never comes fails after a minute instead of hanging.
inline void run_until(core::Loop& loop, const std::function<bool()>& ready) {
  const auto limit = core::Loop::now() + std::chrono::seconds(60);
  core::Timer guard(loop);
  while (!ready()) {
    REQUIRE(core::Loop::now() < limit);
    guard.start(core::Milliseconds(1000), [] {});
    uv_run(loop.raw(), UV_RUN_ONCE);
  }
}

/// Lets everything that is ready happen, without waiting for more.
inline void settle(core::Loop& loop, int turns = 20) {
  for (int turn = 0; turn < turns; ++turn) uv_run(loop.raw(), UV_RUN_NOWAIT);
}

/// Starts the operation and waits for its end. Completing twice fails the test.
template <class T>
core::Result<T> run(core::Loop& loop, core::Operation<T>& operation) {
  std::optional<core::Result<T>> result;
  operation.start([&](core::Result<T> value) {
    REQUIRE_FALSE(result.has_value());
    result.emplace(std::move(value));
  });
  run_until(loop, [&] { return result.has_value(); });
  return std::move(*result);
}

}  // namespace deployrun::test
