#include "options.hpp"

#include <charconv>
#include <functional>
#include <map>
#include <string_view>

namespace lab_load {

const char* const kUsage =
    "lab_load --url URL [--url URL ...]    requests at a steady rate, every one recorded\n"
    "  --rate N              quick requests per second (200)\n"
    "  --duration D          10s, 500ms, 2m; without it until SIGTERM\n"
    "  --path P              of the quick requests (/)\n"
    "  --keepalive-share F   0 to 1: share of quick requests on kept connections (0.5)\n"
    "  --uploads-every D     an upload every D (none)      --upload-bytes N (20 MiB)  --upload-speed BYTES/S (8 MiB)\n"
    "  --slow-every D        a slow request every D (none) --slow-ms N (10000)\n"
    "  --timeout D           of a quick request (30s)\n"
    "  --header 'N: V'       with every request, repeatable\n"
    "  --record FILE         one JSON line per request     --all-bodies yes: with the answers of good ones too\n"
    "Prints one JSON line at the end. Exit: 0 none failed, 1 some failed, 2 usage.\n";

namespace {

template <typename Number>
bool parse_number(std::string_view text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && value >= 0;
}

bool parse_duration(std::string_view text, Milliseconds& value) {
  double scale = 1000;
  if (text.ends_with("ms")) {
    scale = 1;
    text.remove_suffix(2);
  } else if (text.ends_with("s")) {
    text.remove_suffix(1);
  } else if (text.ends_with("m")) {
    scale = 60'000;
    text.remove_suffix(1);
  }
  double number = 0;
  if (!parse_number(text, number)) return false;
  value = Milliseconds(static_cast<long>(number * scale));
  return true;
}

using Setter = std::function<bool(Options&, const std::string&)>;

const std::map<std::string, Setter>& setters() {
  static const std::map<std::string, Setter> table = {
      {"--url",
       [](Options& o, const std::string& v) {
         o.urls.push_back(v.ends_with('/') ? v.substr(0, v.size() - 1) : v);
         return v.starts_with("http://") || v.starts_with("https://");
       }},
      {"--header",
       [](Options& o, const std::string& v) {
         o.headers.push_back(v);
         return v.find(':') != std::string::npos;
       }},
      {"--rate", [](Options& o, const std::string& v) { return parse_number(v, o.rate) && o.rate > 0; }},
      {"--duration",
       [](Options& o, const std::string& v) {
         o.duration = Milliseconds{0};
         return parse_duration(v, *o.duration);
       }},
      {"--uploads-every", [](Options& o, const std::string& v) { return parse_duration(v, o.uploads_every); }},
      {"--upload-bytes", [](Options& o, const std::string& v) { return parse_number(v, o.upload_bytes); }},
      {"--upload-speed", [](Options& o, const std::string& v) { return parse_number(v, o.upload_speed); }},
      {"--slow-every", [](Options& o, const std::string& v) { return parse_duration(v, o.slow_every); }},
      {"--slow-ms",
       [](Options& o, const std::string& v) {
         long ms = 0;
         const bool good = parse_number(v, ms);
         o.slow = Milliseconds(ms);
         return good;
       }},
      {"--timeout", [](Options& o, const std::string& v) { return parse_duration(v, o.timeout); }},
      {"--keepalive-share",
       [](Options& o, const std::string& v) { return parse_number(v, o.keepalive_share) && o.keepalive_share <= 1; }},
      {"--path",
       [](Options& o, const std::string& v) {
         o.path = v;
         return v.starts_with('/');
       }},
      {"--all-bodies",
       [](Options& o, const std::string& v) {
         o.all_bodies = v == "yes";
         return v == "yes" || v == "no";
       }},
      {"--record",
       [](Options& o, const std::string& v) {
         o.record = v;
         return !v.empty();
       }},
  };
  return table;
}

}  // namespace

std::optional<Options> parse_options(int argc, char** argv, std::string& error) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const auto setter = setters().find(argv[i]);
    if (setter == setters().end()) {
      error = std::string("unknown option: ") + argv[i];
      return std::nullopt;
    }
    if (i + 1 == argc) {
      error = std::string(argv[i]) + " needs a value";
      return std::nullopt;
    }
    if (!setter->second(options, argv[i + 1])) {
      error = std::string("bad value for ") + argv[i] + ": " + argv[i + 1];
      return std::nullopt;
    }
  }
  if (options.urls.empty()) {
    error = "--url is missing";
    return std::nullopt;
  }
  return options;
}

}  // namespace lab_load
