// A value that must not be seen: it prints as [secret:NAME] and is wiped when its last holder dies.
// Its bytes lie in locked memory (locked_bytes.hpp); copies that a use makes do not, and are wiped after it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace deployrun::core {

/// Overwrites the text's memory (its unused capacity too) in a way that is not optimised away, then empties it.
void wipe(std::string& text) noexcept;

/// A shared handle; copying copies no bytes. There is no conversion to text: whoever needs the bytes says `reveal`.
class Secret {
 public:
  /// Copies the value; the caller's string is wiped.
  Secret(std::string name, std::string&& value);

  const std::string& name() const noexcept;
  /// The bytes; valid as long as any handle lives. Not for messages, arguments or logs.
  std::string_view reveal() const noexcept;
  /// `[secret:NAME]`
  std::string to_string() const;
  /// Constant time for values of one length.
  bool equals(std::string_view other) const noexcept;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace deployrun::core
