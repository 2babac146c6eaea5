#include "docker/attach.hpp"

#include <memory>
#include <utility>

#include "core/text.hpp"
#include "docker/client.hpp"
#include "docker/frames.hpp"

namespace deployrun::docker {

namespace {

constexpr std::size_t kLongestHead = 64U << 10U;

/// The engine's stream behind its answer to `attach`.
class Attached final : public core::Stream {
 public:
  Attached(std::unique_ptr<core::Stream> stream, const std::string& first) : stream_(std::move(stream)) {
    frames_.feed(first);
  }
  ~Attached() override { *alive_ = false; }

  void read(Read done) override {
    if (!ready_.empty()) return done(std::exchange(ready_, {}));
    stream_->read([this, alive = alive_, done = std::move(done)](core::Result<std::string> bytes) mutable {
      if (!*alive || !bytes || bytes->empty()) return done(std::move(bytes));
      frames_.feed(*bytes);
      read(std::move(done));
    });
  }
  void write(std::string bytes, Written done) override { stream_->write(std::move(bytes), std::move(done)); }
  void end_write() override { stream_->end_write(); }
  void close() noexcept override { stream_->close(); }

 private:
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::unique_ptr<core::Stream> stream_;
  std::string ready_;
  Demultiplexer frames_{[this](Source source, std::string_view bytes) {
    if (source == Source::out) ready_ += bytes;
  }};
};

/// Dials, asks, and reads the answer's head.
class Attaching : public std::enable_shared_from_this<Attaching> {
 public:
  using Done = std::function<void(core::Result<std::unique_ptr<core::Stream>>)>;
  Attaching(std::string container, std::string host, Done done)
      : container_(std::move(container)), host_(std::move(host)), done_(std::move(done)) {}

  void start(const core::Dial& engine) {
    dialling_ = engine([weak = weak_from_this()](core::Result<std::unique_ptr<core::Stream>> stream) {
      if (const auto self = weak.lock()) self->dialled(std::move(stream));
    });
  }

 private:
  void dialled(core::Result<std::unique_ptr<core::Stream>> stream) {
    if (!stream) return finish(std::move(stream).error());
    stream_ = std::move(*stream);
    // Without a version: every engine answers this in its own.
    stream_->write("POST /containers/" + container_ +
                       "/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: docker\r\n"
                       "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n",
                   [weak = weak_from_this()](core::Result<core::Unit> written) {
                     const auto self = weak.lock();
                     if (!self) return;
                     if (!written) return self->finish(std::move(written).error());
                     self->read_head();
                   });
  }
  void read_head() {
    stream_->read([weak = weak_from_this()](core::Result<std::string> bytes) {
      const auto self = weak.lock();
      if (!self) return;
      if (!bytes) return self->finish(std::move(bytes).error());
      self->head_ += *bytes;
      const std::size_t end = self->head_.find("\r\n\r\n");
      if (end != std::string::npos) return self->answered(end + 4);
      if (bytes->empty() || self->head_.size() > kLongestHead) return self->refuse("no answer that HTTP knows");
      self->read_head();
    });
  }
  void answered(std::size_t body) {
    const std::string status = head_.substr(0, head_.find("\r\n"));
    // Docker says 101 to who asks for an upgrade, Podman's older engines 200.
    if (status.rfind("HTTP/1.1 101", 0) != 0 && status.rfind("HTTP/1.1 200", 0) != 0) {
      return refuse(core::clean(status.substr(0, 200)) + " " + core::clean(head_.substr(body, 500)));
    }
    const std::string first = head_.substr(body);
    finish(std::unique_ptr<core::Stream>(std::make_unique<Attached>(std::move(stream_), first)));
  }
  void refuse(const std::string& why) {
    finish(core::Error{
        .kind = "docker.attach", .message = "attach to " + container_.substr(0, 12) + ": " + why, .host = host_});
  }
  void finish(core::Result<std::unique_ptr<core::Stream>> result) {
    const auto done = std::exchange(done_, nullptr);
    if (done) done(std::move(result));
  }

  std::string container_, host_, head_;
  Done done_;
  std::shared_ptr<void> dialling_;
  std::unique_ptr<core::Stream> stream_;
};

}  // namespace

core::Dial attach(core::Dial engine, const std::string& container, const std::string& host) {
  return
      [engine = std::move(engine), part = name_part(container), host](Attaching::Done done) -> std::shared_ptr<void> {
        auto attaching = std::make_shared<Attaching>(part, host, std::move(done));
        attaching->start(engine);
        return attaching;
      };
}

}  // namespace deployrun::docker
