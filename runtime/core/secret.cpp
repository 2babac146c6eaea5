#include "core/secret.hpp"

#include <cstring>

#include "core/locked_bytes.hpp"

namespace deployrun::core {

void wipe(std::string& text) noexcept {
  text.resize(text.capacity());  // never allocates
  explicit_bzero(text.data(), text.size());
  text.clear();
}

struct Secret::State {
  std::string name;
  LockedBytes value;
};

Secret::Secret(std::string name, std::string&& value) {
  state_ = std::shared_ptr<const State>(new State{std::move(name), LockedBytes(value)});
  wipe(value);
}

const std::string& Secret::name() const noexcept { return state_->name; }

std::string_view Secret::reveal() const noexcept { return state_->value.view(); }

std::string Secret::to_string() const { return "[secret:" + state_->name + "]"; }

bool Secret::equals(std::string_view other) const noexcept {
  const std::string_view value = reveal();
  if (value.size() != other.size()) return false;
  unsigned char different = 0;
  for (std::size_t i = 0; i < value.size(); ++i) {
    different = static_cast<unsigned char>(different | (value[i] ^ other[i]));
  }
  return different == 0;
}

}  // namespace deployrun::core
