#include "backup/plan.hpp"

#include <set>

#include "core/duration.hpp"
#include "core/files.hpp"
#include "core/text.hpp"

namespace deployrun::backup {

namespace {

constexpr std::size_t kLongestFile = 64U << 10U;
constexpr std::int64_t kSmallestPart = 5LL << 20U;
constexpr std::int64_t kLargestPart = 512LL << 20U;
constexpr std::int64_t kMostKept = 100'000;
constexpr int kHighestLevel = 19;

core::Error wrong(const std::string& why) {
  return {.kind = "backup.plan", .message = "plan.json: " + why, .hint = "install the backup's plan again"};
}

/// Members of an object, each asked for once; throws core::Failure (`backup.plan`).
class Members {
 public:
  Members(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object_.is_object()) throw core::Failure(wrong(where_ + "must be an object"));
  }
  const Json* find(const char* name) {
    known_.insert(name);
    const auto found = object_.find(name);
    return found == object_.end() ? nullptr : &*found;
  }
  std::string text(const char* name) {
    const Json* found = find(name);
    if (found == nullptr) return {};
    if (!found->is_string()) refuse(name, "a text");
    auto value = found->get<std::string>();
    if (value.find('\0') != std::string::npos || value.find('\n') != std::string::npos) refuse(name, "one line");
    return value;
  }
  std::int64_t number(const char* name, std::int64_t fallback, std::int64_t low, std::int64_t high) {
    const Json* found = find(name);
    if (found == nullptr) return fallback;
    if (!found->is_number_integer() || found->get<std::int64_t>() < low || found->get<std::int64_t>() > high) {
      refuse(name, "a number from " + std::to_string(low) + " to " + std::to_string(high));
    }
    return found->get<std::int64_t>();
  }
  core::Milliseconds duration(const char* name, core::Milliseconds fallback) {
    const std::string value = text(name);
    if (value.empty()) return fallback;
    auto parsed = core::parse_duration(value);
    if (!parsed) refuse(name, "a duration such as 30d");
    return *parsed;
  }
  bool flag(const char* name) {
    const Json* found = find(name);
    if (found == nullptr) return false;
    if (!found->is_boolean()) refuse(name, "true or false");
    return found->get<bool>();
  }
  void finish() const {
    for (const auto& [name, value] : object_.items()) {
      if (known_.count(name) == 0)
        throw core::Failure(wrong(where_ + "`" + core::clean(name.substr(0, 80)) + "` is unknown"));
    }
  }

 private:
  [[noreturn]] void refuse(const char* name, const std::string& wanted) const {
    throw core::Failure(wrong(where_ + "`" + name + "` must be " + wanted));
  }
  const Json& object_;
  std::string where_;
  std::set<std::string> known_;
};

Bucket read_bucket(const Json& json) {
  Members members(json, "s3: ");
  Bucket bucket;
  bucket.endpoint = members.text("endpoint");
  if (const std::string region = members.text("region"); !region.empty()) bucket.region = region;
  bucket.bucket = members.text("bucket");
  bucket.prefix = members.text("prefix");
  bucket.bucket_in_host = members.flag("bucket_in_host");
  bucket.authorities = members.text("ca");
  bucket.part = members.number("part_bytes", bucket.part, kSmallestPart, kLargestPart);
  members.finish();
  const bool web = bucket.endpoint.rfind("https://", 0) == 0 || bucket.endpoint.rfind("http://", 0) == 0;
  if (!web || bucket.bucket.empty()) throw core::Failure(wrong("s3: `endpoint` (https://…) and `bucket` are needed"));
  return bucket;
}

Plan read_members(const Json& json, const std::string& home) {
  Members members(json, "");
  Plan plan{.name = members.text("name"), .home = home};
  if (!is_plan_name(plan.name)) throw core::Failure(wrong("`name` must be letters, digits, _, . and -"));
  plan.place = {.path = members.text("path"),
                .volume = members.text("volume"),
                .container = members.text("container"),
                .user = members.text("user")};
  plan.folder = members.text("folder");
  if (const Json* bucket = members.find("s3")) plan.bucket = read_bucket(*bucket);
  plan.keep = members.duration("keep", plan.keep);
  plan.at_least = members.number("at_least", plan.at_least, 1, kMostKept);
  plan.deadline = members.duration("deadline", plan.deadline);
  plan.patience = members.duration("patience", plan.patience);
  plan.level = static_cast<int>(members.number("level", plan.level, 1, kHighestLevel));
  members.finish();
  if (plan.place.path.empty()) throw core::Failure(wrong("`path` of the database is needed"));
  if (!plan.place.volume.empty() && !plan.place.container.empty()) {
    throw core::Failure(wrong("either `volume` or `container`"));
  }
  if (!plan.folder.empty() && plan.folder.front() != '/') throw core::Failure(wrong("`folder` must begin with /"));
  if (plan.folder.empty() && !plan.bucket) throw core::Failure(wrong("`folder` or `s3` is needed"));
  return plan;
}

core::Result<Account> read_account(const std::string& path) {
  auto text = core::read_file_now(path, kLongestFile);
  if (!text) return std::move(text).error();
  const auto lines = core::lines(*text);
  if (lines.size() < 2 || lines[0].empty() || lines[1].empty()) {
    return core::Error{.kind = "backup.plan", .message = path + ": it must hold an access key and a secret key"};
  }
  return Account{.access_key = std::string(lines[0]),
                 .secret_key = std::string(lines[1]),
                 .session_token = lines.size() > 2 ? std::string(lines[2]) : std::string()};
}

}  // namespace

core::Result<Plan> parse_plan(std::string_view text, const std::string& home) {
  auto json = json::parse(text, {.bytes = kLongestFile, .depth = 8, .nodes = 1000}, "plan.json");
  if (!json) return wrong(json.error().message);
  try {
    return read_members(*json, home);
  } catch (const core::Failure& failure) {
    return failure.error();
  }
}

core::Result<Plan> read_plan(const std::string& home) {
  auto text = core::read_file_now(home + "/plan.json", kLongestFile);
  if (!text) return std::move(text).error();
  auto plan = parse_plan(*text, home);
  if (!plan || !plan->bucket) return plan;
  auto account = read_account(home + "/account");
  if (!account) return std::move(account).error();
  plan->account = std::move(*account);
  return plan;
}

}  // namespace deployrun::backup
