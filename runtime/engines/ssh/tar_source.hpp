// A folder of this machine as a stream that is its tar archive.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "core/pool.hpp"
#include "core/stream.hpp"
#include "ssh/tar.hpp"

namespace deployrun::ssh {

/// The writer works on the pool, one piece ahead of whoever reads.
class TarSource final : public core::Stream {
 public:
  TarSource(core::Loop& loop, Tree tree, TarPlace place = {})
      : loop_(loop), writer_(std::make_shared<TarWriter>(std::move(tree), std::move(place))) {}

  void read(Read done) override {
    job_ = std::make_unique<core::PoolJob<std::string>>(loop_, [writer = writer_] { return writer->next(); });
    job_->start([this, done = std::move(done)](core::Result<std::string> piece) {
      if (on_bytes) on_bytes(writer_->bytes() - std::exchange(told_, writer_->bytes()));
      done(std::move(piece));
    });
  }
  void write(std::string, Written done) override { done(core::usage("a tar stream is read only")); }
  void end_write() override {}
  void close() noexcept override { job_.reset(); }
  /// How many bytes of contents were read meanwhile.
  std::function<void(std::uint64_t)> on_bytes;

 private:
  core::Loop& loop_;
  std::shared_ptr<TarWriter> writer_;
  std::uint64_t told_ = 0;
  std::unique_ptr<core::Operation<std::string>> job_;
};

}  // namespace deployrun::ssh
