#include "core/secret.hpp"

#include <cstring>

namespace deployrun::core {

void wipe(std::string& text) noexcept {
  text.resize(text.capacity());  // never allocates
  explicit_bzero(text.data(), text.size());
  text.clear();
}

struct Secret::State {
  std::string name;
  std::string value;
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { wipe(value); }
};

Secret::Secret(std::string name, std::string&& value) {
  auto state = std::make_shared<State>();
  state->name = std::move(name);
  // Copied, then wiped: moving a short string copies it as well, and leaves the bytes where they were.
  state->value.assign(value);
  wipe(value);
  state_ = std::move(state);
}

const std::string& Secret::name() const noexcept { return state_->name; }

std::string_view Secret::reveal() const noexcept { return state_->value; }

std::string Secret::to_string() const { return "[secret:" + state_->name + "]"; }

bool Secret::equals(std::string_view other) const noexcept {
  const std::string_view value = state_->value;
  if (value.size() != other.size()) return false;
  unsigned char different = 0;
  for (std::size_t i = 0; i < value.size(); ++i) {
    different = static_cast<unsigned char>(different | (value[i] ^ other[i]));
  }
  return different == 0;
}

}  // namespace deployrun::core
