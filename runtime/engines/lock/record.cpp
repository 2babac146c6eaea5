#include "lock/record.hpp"

#include <charconv>
#include <cstdio>

#include "json/json.hpp"

namespace deployrun::lock {

namespace {

using json::Json;

core::Error corrupt(std::uint64_t token, const std::string& why) {
  return {.kind = "lock.corrupt",
          .message = "claim " + std::to_string(token) + " of the deploy lock: " + why,
          .hint = "`lock break --id corrupt` puts a new one in its place, once you know that nobody deploys"};
}

std::string text_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::int64_t number_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

}  // namespace

std::string sign(const Record& record) {
  std::string number = std::to_string(record.renewed_ms);
  const char* state = record.released ? "released " : "held     ";
  const std::size_t width = kSignLength - 1 - std::string_view(state).size();
  number.insert(0, width - number.size(), '0');
  return state + number + "\n";
}

std::string to_text(const Record& record) {
  const Claim& claim = record.claim;
  Json object{{"id", claim.id},
              {"owner", claim.owner},
              {"message", claim.message},
              {"run", claim.run},
              {"ci_url", claim.ci_url},
              {"version", claim.version},
              {"lease_ms", claim.lease_ms},
              {"by_hand", claim.by_hand},
              {"acquired_at", record.acquired_at},
              {"boot", record.boot}};
  return sign(record) + json::dump(object) + "\n";
}

core::Result<Record> from_text(std::string_view text, std::uint64_t token) {
  if (text.size() <= kSignLength || text[kSignLength - 1] != '\n') return corrupt(token, "too short");
  const std::string_view first = text.substr(0, kSignLength - 1);
  Record record;
  record.token = token;
  record.released = first.substr(0, 9) == "released ";
  if (!record.released && first.substr(0, 9) != "held     ") return corrupt(token, "neither held nor released");
  const char* const end = first.data() + first.size();
  const auto [stop, code] = std::from_chars(first.data() + 9, end, record.renewed_ms);
  if (code != std::errc() || stop != end) return corrupt(token, "no sign of life");
  const auto parsed = json::parse(text.substr(kSignLength), {.bytes = text.size(), .depth = 4, .nodes = 64});
  if (!parsed) return corrupt(token, parsed.error().message);
  if (!parsed->is_object()) return corrupt(token, "not an object");
  const Json by_hand = parsed->value("by_hand", Json(false));
  if (!by_hand.is_boolean()) return corrupt(token, "by_hand is neither true nor false");
  record.claim = {.id = text_at(*parsed, "id"),
                  .owner = text_at(*parsed, "owner"),
                  .message = text_at(*parsed, "message"),
                  .run = text_at(*parsed, "run"),
                  .ci_url = text_at(*parsed, "ci_url"),
                  .version = text_at(*parsed, "version"),
                  .lease_ms = number_at(*parsed, "lease_ms"),
                  .by_hand = by_hand.get<bool>()};
  record.acquired_at = number_at(*parsed, "acquired_at");
  record.boot = text_at(*parsed, "boot");
  if (record.claim.id.empty() || record.claim.lease_ms < 0) return corrupt(token, "no id, or no lease");
  return record;
}

}  // namespace deployrun::lock
