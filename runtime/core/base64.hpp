// Bytes as text: base64 (RFC 4648 §4, and §5 for URLs) and hexadecimal.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace deployrun::core {

enum class Base64 { standard, url };

/// With padding in the standard alphabet; without in the URL one, unless `padded` says otherwise.
std::string base64_encode(std::string_view bytes, Base64 alphabet = Base64::standard);
std::string base64_encode(std::string_view bytes, Base64 alphabet, bool padded);

/// Either padding is accepted; a foreign character, white space, a wrong length or bits left over give nothing.
std::optional<std::string> base64_decode(std::string_view text, Base64 alphabet = Base64::standard);

/// Lower case, two digits per byte.
std::string hex_encode(std::string_view bytes);
/// Both cases; an odd length or a foreign character gives nothing.
std::optional<std::string> hex_decode(std::string_view text);

}  // namespace deployrun::core
