#include "lock/keeper.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <thread>
#include <utility>

namespace deployrun::lock {

namespace {

constexpr std::chrono::milliseconds kPause{100};  // between looks whether it is one's turn
constexpr std::int64_t kLongestWait = 24LL * 3600 * 1000;

Json to_json(const Claim& claim) {
  return {
      {"id", claim.id},         {"owner", claim.owner},     {"message", claim.message},   {"run", claim.run},
      {"ci_url", claim.ci_url}, {"version", claim.version}, {"lease_ms", claim.lease_ms}, {"by_hand", claim.by_hand}};
}

Json to_json(const Record& record, const HostClock& clock) {
  Json out = to_json(record.claim);
  out["token"] = record.token;
  out["acquired_at"] = record.acquired_at;
  out["age_ms"] = std::max<std::int64_t>(0, clock.unix_ms() - record.acquired_at);
  if (record.boot == clock.boot()) out["silent_ms"] = clock.now_ms() - record.renewed_ms;
  return out;
}

core::Error held_by(const std::string& name, const Record& record, const HostClock& clock, bool waits) {
  const Claim& claim = record.claim;
  core::Error error{.kind = "lock.held", .message = "the deploy lock of " + name + " is "};
  error.message += waits ? "awaited by " : "held by ";
  error.message += claim.owner + (claim.message.empty() ? "" : ": " + claim.message);
  const Json fields = to_json(record, clock);
  for (const auto& [field, value] : fields.items()) {
    if (value.is_string()) error.details["holder_" + field] = value.get<std::string>();
    if (value.is_number()) error.details["holder_" + field] = value.get<std::int64_t>();
    if (value.is_boolean()) error.details["holder_" + field] = value.get<bool>();
  }
  return error;
}

/// Of folders: of a lock, or its identity.
bool is_name(const std::string& value) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  };
  return !value.empty() && value.size() <= 128 && value[0] != '.' && std::all_of(value.begin(), value.end(), fits);
}

core::Error not_by_hand(const std::optional<Found>& found) {
  core::Error error{.kind = "lock.not_found", .message = "nobody took the deploy lock by hand"};
  if (found && !found->record.released) {
    error.hint =
        "a deploy has it, and gives it back at its end; `lock break --id " + found->record.claim.id + "` takes it away";
  }
  return error;
}

}  // namespace

/// The parameters of one call, checked: a wrong one is a `usage` error that names it.
class Keeper::Params {
 public:
  Params(std::string_view method, const Json& json) : method_(method), json_(json) {
    if (!json_.is_object()) refuse("params must be an object");
  }
  bool has(const char* key) const { return json_.contains(key); }
  std::string text(const char* key) { return text_of(find(key), key); }
  std::int64_t integer(const char* key) {
    const Json* found = find(key);
    if (found == nullptr || !found->is_number_integer()) refuse(std::string(key) + " must be an integer");
    return found->get<std::int64_t>();
  }
  bool flag(const char* key) {
    const Json* found = find(key);
    if (found == nullptr) return false;
    if (!found->is_boolean()) refuse(std::string(key) + " must be true or false");
    return found->get<bool>();
  }
  std::string name(const char* key) {
    std::string value = text(key);
    if (!is_name(value)) refuse(std::string(key) + " must be letters, digits, -, _ and .");
    return value;
  }
  Claim claim(const char* key) {
    const Json* found = find(key);
    if (found == nullptr || !found->is_object()) refuse(std::string(key) + " must be an object");
    Params fields(method_, *found);
    Claim claim{.id = fields.name("id"),
                .owner = fields.text("owner"),
                .message = fields.text("message"),
                .run = fields.text("run"),
                .ci_url = fields.text("ci_url"),
                .version = fields.text("version"),
                .by_hand = fields.flag("by_hand")};
    claim.lease_ms = fields.integer("lease_ms");
    fields.finish();
    if (claim.lease_ms < 0 || to_text({.claim = claim}).size() > Folder::kTextLimit) refuse("the claim is too long");
    return claim;
  }
  void finish() const {
    for (const auto& [key, value] : json_.items()) {
      if (known_.count(key) == 0) refuse("no parameter is called " + key.substr(0, 80));
    }
  }

 private:
  const Json* find(const char* key) {
    known_.insert(key);
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }
  std::string text_of(const Json* value, const char* key) const {
    if (value == nullptr || !value->is_string()) refuse(std::string(key) + " must be a text");
    return value->get<std::string>();
  }
  [[noreturn]] void refuse(const std::string& why) const {
    throw core::Failure(core::usage("lock." + method_ + ": " + why));
  }

  std::string method_;
  const Json& json_;
  std::set<std::string> known_;
};

struct Keeper::Held {
  std::string name;
  std::mutex busy;
  DeployLock lock;
};

/// A lock's folders, open.
struct Keeper::Place {
  std::string name;
  Claims claims;
  Queue queue;
};

Keeper::Keeper(std::string root) : root_(std::move(root)) {}

Keeper::~Keeper() {
  for (Admitted& each : sessions_) each.session.leave();
}

core::Result<Json> Keeper::answer(std::string_view method, const Json& params, const Stop& stop) {
  try {
    Params checked(method, params);
    if (method == "acquire") return acquire(checked, stop);
    if (method == "renew") return renew(checked);
    if (method == "release") return release(checked);
    if (method == "status") return status(checked);
    if (method == "break") return break_claim(checked);
    if (method == "admit") return admit(checked);
  } catch (const core::Failure& failure) {
    return failure.error();
  }
  return core::Error{.kind = "lock.method", .message = "nobody knows lock." + std::string(method)};
}

/// What is above it is made and checked.
core::Result<std::string> Keeper::folder(const char* kind, const std::string& name) const {
  if (root_.empty()) return core::Error{.kind = "lock.io", .message = "HOME is not set, so deploy locks have no place"};
  const std::string above = root_ + "/" + kind;
  for (const std::string& each : {root_, above}) {
    if (auto made = Folder::open(each); !made) return std::move(made).error();
  }
  return above + "/" + name;
}

core::Result<std::string> Keeper::folder_of(const std::string& name) const {
  if (!is_name(name)) return core::usage("the name of a lock is letters, digits, -, _ and .");
  auto own = folder("locks", name);
  if (!own) return own;
  if (auto made = Folder::open(*own); !made) return std::move(made).error();
  return own;
}

core::Result<std::string> Keeper::folder_of_held(std::int64_t claim) {
  try {
    const auto there = held(claim);
    const std::lock_guard busy(there->busy);
    if (auto renewed = there->lock.renew(); !renewed) return std::move(renewed).error();
    return folder_of(there->name);
  } catch (const core::Failure& failure) {
    return failure.error();
  }
}

core::Result<Keeper::Place> Keeper::open(const std::string& name) const {
  const auto own = folder("locks", name);
  if (!own) return own.error();
  auto claims = Claims::open(*own);
  if (!claims) return std::move(claims).error();
  auto queue = Queue::open(*own + "/queue");
  if (!queue) return std::move(queue).error();
  return Place{name, std::move(*claims), std::move(*queue)};
}

core::Result<DeployLock::Attempt> Keeper::wait(const Place& place, const Claim& claim, std::int64_t patience_ms,
                                               const Stop& stop) const {
  const auto began = std::chrono::steady_clock::now();
  std::optional<Queue::Place> mine;
  for (;;) {
    auto before = place.queue.waiting(mine ? mine->number() : UINT64_MAX);
    if (!before) return std::move(before).error();
    std::optional<core::Error> why;
    if (before->empty()) {
      auto attempt = DeployLock::try_acquire(place.claims, claim, clock_);
      if (!attempt || attempt->lock) return attempt;
      why = held_by(place.name, attempt->holder->record, clock_, false);
    } else {
      why = held_by(place.name, before->front(), clock_, true);
    }
    const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
    if (waited.count() >= patience_ms) return std::move(*why);
    if (stop) return core::cancelled();
    if (!mine) {
      auto joined = place.queue.join(claim);
      if (!joined) return std::move(joined).error();
      mine.emplace(std::move(*joined));
    } else {
      std::this_thread::sleep_for(kPause);
    }
  }
}

core::Result<Json> Keeper::acquire(Params& params, const Stop& stop) {
  const std::string name = params.name("name");
  const Claim claim = params.claim("claim");
  const bool again = params.has("again");
  const std::int64_t token = again ? params.integer("again") : 0;
  const std::int64_t patience = again ? 0 : std::clamp<std::int64_t>(params.integer("patience_ms"), 0, kLongestWait);
  const bool admit = params.flag("admit");
  params.finish();
  auto place = open(name);
  if (!place) return std::move(place).error();
  auto identity = place->claims.identity();
  if (!identity) return std::move(identity).error();

  DeployLock::Attempt attempt;
  if (again) {
    auto taken = DeployLock::acquire_again(place->claims, claim, static_cast<std::uint64_t>(token), clock_);
    if (!taken) return std::move(taken).error();
    attempt.lock = std::move(*taken);
  } else {
    auto waited = wait(*place, claim, patience, stop);
    if (!waited) return std::move(waited).error();
    attempt = std::move(*waited);
  }
  const std::uint64_t own = attempt.lock->token();
  if (admit) {
    if (auto admitted = admit_here(name, *identity, own); !admitted) return std::move(admitted).error();
  }
  Json out{{"token", own}, {"identity", *identity}, {"free_ms", attempt.free_ms}};
  if (attempt.replaced) out["replaced"] = to_json(*attempt.replaced, clock_);
  const std::lock_guard lock(mutex_);
  out["claim"] = ++last_;
  held_[last_] = std::shared_ptr<Held>(new Held{name, {}, std::move(*attempt.lock)});
  return out;
}

std::shared_ptr<Keeper::Held> Keeper::held(std::int64_t number) {
  const std::lock_guard lock(mutex_);
  const auto found = held_.find(number);
  if (found == held_.end()) throw core::Failure(core::usage("no claim has the number " + std::to_string(number)));
  return found->second;
}

core::Result<Json> Keeper::renew(Params& params) {
  const auto there = held(params.integer("claim"));
  params.finish();
  const std::lock_guard busy(there->busy);
  auto renewed = there->lock.renew();
  if (!renewed) return std::move(renewed).error();
  return Json(true);
}

core::Result<Json> Keeper::release(Params& params) {
  if (params.has("claim")) {
    const std::int64_t number = params.integer("claim");
    params.finish();
    const auto there = held(number);
    // It changes nothing any more. Before the lock is free: whoever has it next ends the connections of those who are
    // admitted, and this one's answer is still on its way.
    end_sessions(there->name, there->lock.token());
    auto released = [&] {
      const std::lock_guard busy(there->busy);
      return there->lock.release();
    }();
    const std::lock_guard lock(mutex_);
    held_.erase(number);
    if (!released) return std::move(released).error();
    return Json(true);
  }
  const std::string name = params.name("name");
  const std::string id = params.has("id") ? params.text("id") : std::string();
  const Claim by = params.claim("by");
  params.finish();
  auto place = open(name);
  if (!place) return std::move(place).error();
  auto found = place->claims.highest();
  if (!found) return std::move(found).error();
  if (!*found || (*found)->record.released || !(*found)->record.claim.by_hand) return not_by_hand(*found);
  auto ended = DeployLock::break_claim(place->claims, id.empty() ? (*found)->record.claim.id : id, by, clock_);
  if (!ended) return std::move(ended).error();
  return to_json(*ended, clock_);
}

core::Result<Json> Keeper::status(Params& params) {
  const std::string name = params.name("name");
  params.finish();
  auto place = open(name);
  if (!place) return std::move(place).error();
  auto found = DeployLock::holder(place->claims, clock_);
  if (!found) return std::move(found).error();
  auto waiting = place->queue.waiting();
  if (!waiting) return std::move(waiting).error();
  Json out{{"waiting", Json::array()}};
  if (*found) out["holder"] = to_json((*found)->record, clock_);
  for (const Record& each : *waiting) out["waiting"].push_back(to_json(each.claim));
  return out;
}

core::Result<Json> Keeper::break_claim(Params& params) {
  const std::string name = params.name("name");
  const std::string id = params.text("id");
  const Claim by = params.claim("by");
  params.finish();
  auto place = open(name);
  if (!place) return std::move(place).error();
  auto broken = DeployLock::break_claim(place->claims, id, by, clock_);
  if (!broken) return std::move(broken).error();
  return to_json(*broken, clock_);
}

core::Result<Json> Keeper::admit(Params& params) {
  const std::string name = params.name("name");
  const std::string identity = params.name("identity");
  const std::int64_t token = params.integer("token");
  params.finish();
  auto admitted = admit_here(name, identity, static_cast<std::uint64_t>(token));
  if (!admitted) return std::move(admitted).error();
  return Json(true);
}

core::Result<core::Unit> Keeper::admit_here(const std::string& name, const std::string& identity, std::uint64_t token) {
  const auto own = folder("fences", name + "-" + identity);
  if (!own) return own.error();
  auto fence = Fence::open(*own);
  if (!fence) return std::move(fence).error();
  auto session = fence->admit(token, find_carrier(::getpid()));
  if (!session) return std::move(session).error();
  const std::lock_guard lock(mutex_);
  sessions_.push_back({name, token, std::move(*session)});
  return core::Unit{};
}

void Keeper::end_sessions(const std::string& name, std::uint64_t token) {
  std::vector<Admitted> kept;
  const std::lock_guard lock(mutex_);
  for (Admitted& each : sessions_) {
    if (each.name != name || each.token != token) kept.push_back(std::move(each));
  }
  sessions_.swap(kept);
}

}  // namespace deployrun::lock
