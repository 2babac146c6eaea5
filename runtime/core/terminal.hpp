// The terminal that this program was started on: keys, size, raw mode. What a remote shell needs.
#pragma once

#include <uv.h>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "core/loop.hpp"
#include "core/result.hpp"

namespace deployrun::core {

/// Somebody who types and reads. An interface, so that a shell can be tested without a terminal.
class Console {
 public:
  struct Size {
    unsigned columns = 80;
    unsigned rows = 24;
    bool operator==(const Size&) const = default;
  };
  struct Events {
    std::function<void(std::string_view)> keys;  ///< what was typed; empty at its end
    std::function<void()> resized;
  };

  Console() = default;
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;
  virtual ~Console() = default;

  virtual Size size() const = 0;
  /// What TERM says.
  virtual std::string type() const = 0;
  /// Every key as it is, none for this machine, until `stop`. Events never come from inside a call.
  virtual void start_raw(Events events) = 0;
  virtual void stop() noexcept = 0;
  /// While held, keys stay where they are.
  virtual void hold(bool held) = 0;
  /// In order; `written` when it is out. Not called any more after destruction.
  virtual void write(std::string bytes, std::function<void()> written) = 0;
};

class Terminal final : public Console {
 public:
  /// Whether there is one: standard input and output both are.
  static bool present() noexcept;
  /// Kind `terminal.missing`.
  static Result<std::unique_ptr<Terminal>> open(Loop& loop);
  /// Leaves it as it was found.
  ~Terminal() override;

  Size size() const override;
  std::string type() const override;
  void start_raw(Events events) override;
  void stop() noexcept override;
  void hold(bool held) override;
  void write(std::string bytes, std::function<void()> written) override;

 private:
  struct Writing;
  explicit Terminal(Loop& loop);
  void read();

  Loop& loop_;
  uv_tty_t* in_ = nullptr;
  uv_tty_t* out_ = nullptr;
  uv_signal_t* winch_ = nullptr;
  Events events_;
  bool started_ = false;
  bool held_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::array<char, 8192> buffer_;
};

}  // namespace deployrun::core
