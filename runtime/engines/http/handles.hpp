// One move-only owner per libcurl handle (STYLE.md §6).
#pragma once

#include <curl/curl.h>

#include <memory>

namespace deployrun::http {

// CURL and CURLM are both `void` in C, so each owner names its own function.
struct EasyDelete {
  void operator()(void* easy) const noexcept { curl_easy_cleanup(easy); }
};
struct MultiDelete {
  void operator()(void* multi) const noexcept { curl_multi_cleanup(multi); }
};
struct UrlDelete {
  void operator()(CURLU* url) const noexcept { curl_url_cleanup(url); }
};
struct SlistDelete {
  void operator()(curl_slist* list) const noexcept { curl_slist_free_all(list); }
};
struct CurlFree {
  void operator()(char* text) const noexcept { curl_free(text); }
};

using Easy = std::unique_ptr<void, EasyDelete>;
using Multi = std::unique_ptr<void, MultiDelete>;
using Url = std::unique_ptr<CURLU, UrlDelete>;
using Slist = std::unique_ptr<curl_slist, SlistDelete>;
using CurlText = std::unique_ptr<char, CurlFree>;

}  // namespace deployrun::http
