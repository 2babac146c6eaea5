#include "http/request.hpp"

#include <algorithm>
#include <cstring>

#include "core/text.hpp"
#include "http/handles.hpp"

namespace deployrun::http {

namespace {

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char byte) {
    return byte > 0x20 && byte < 0x7f && std::strchr("\"(),/:;<=>?@[\\]{}", byte) == nullptr;
  });
}

bool has_line_break(std::string_view text) { return text.find_first_of(std::string_view("\r\n\0", 3)) != text.npos; }

}  // namespace

const std::string* find_header(const Headers& headers, std::string_view name) {
  for (const auto& [key, value] : headers) {
    if (core::equals_ignoring_case(key, name)) return &value;
  }
  return nullptr;
}

std::optional<core::Error> check(const Request& request) {
  const auto refuse = [&](const std::string& why) { return core::usage("http request: " + why); };
  const Url url(curl_url());
  if (!url || has_line_break(request.url) ||
      curl_url_set(url.get(), CURLUPART_URL, request.url.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK) {
    return refuse("the address is not a URL such as https://example.org/up");
  }
  char* raw = nullptr;
  curl_url_get(url.get(), CURLUPART_SCHEME, &raw, 0);
  const CurlText scheme(raw);
  if (scheme && std::strcmp(scheme.get(), "http") != 0 && std::strcmp(scheme.get(), "https") != 0) {
    return refuse("`" + std::string(scheme.get()) + "` is not supported, only http and https");
  }
  if (!is_token(request.method)) return refuse("the method is not a word");
  for (const auto& [name, value] : request.headers) {
    if (!is_token(name)) return refuse("`" + core::clean(name) + "` is not a header's name");
    // The value may be a secret: it is not shown.
    if (has_line_break(value)) return refuse("the value of header `" + name + "` has a line break");
  }
  return {};
}

std::string shown_url(const std::string& url) {
  const Url parsed(curl_url());
  if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK) {
    return "(not an address)";
  }
  char* raw = nullptr;
  const bool query = curl_url_get(parsed.get(), CURLUPART_QUERY, &raw, 0) == CURLUE_OK;
  CurlText(raw).reset();
  for (const CURLUPart part : {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY, CURLUPART_FRAGMENT}) {
    curl_url_set(parsed.get(), part, nullptr, 0);
  }
  raw = nullptr;
  if (curl_url_get(parsed.get(), CURLUPART_URL, &raw, 0) != CURLUE_OK) return "(not an address)";
  const CurlText text(raw);
  return core::clean(text.get()) + (query ? "?…" : "");
}

}  // namespace deployrun::http
