#include "http/request.hpp"

#include "core/text.hpp"
#include "http/handles.hpp"

namespace deployrun::http {

const std::string* find_header(const Headers& headers, std::string_view name) {
  for (const auto& [key, value] : headers) {
    if (core::equals_ignoring_case(key, name)) return &value;
  }
  return nullptr;
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
