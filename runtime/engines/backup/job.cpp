#include "backup/job.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <thread>

#include "backup/retention.hpp"
#include "backup/work.hpp"
#include "core/duration.hpp"
#include "core/files.hpp"
#include "core/text.hpp"
#include "json/error.hpp"
#include "sqlite/mutex_file.hpp"
#include "sqlite/patience.hpp"

namespace deployrun::backup {

namespace {

constexpr const char* kCopy = "copy.zst";

std::int64_t wall_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<core::Milliseconds>(now).count();
}

core::Instant ticks() { return std::chrono::steady_clock::now(); }

std::int64_t ms_since(core::Instant began) {
  return std::chrono::duration_cast<core::Milliseconds>(ticks() - began).count();
}

core::Error missing(const std::string& id) {
  return {.kind = "backup.missing",
          .message = id.empty() ? "there is no backup yet" : "no backup is called " + core::clean(id.substr(0, 80)),
          .hint = "`list` shows those that there are"};
}

}  // namespace

Job::Job(Plan plan, const Stop& stop) : plan_(std::move(plan)), stop_(stop), workplace_(plan_) {
  if (!plan_.folder.empty()) stores_.push_back(open_folder(plan_.name, plan_.folder));
  if (plan_.bucket) stores_.push_back(open_bucket(plan_.name, *plan_.bucket, plan_.account));
}

/// Takes the plan's lock, waiting for who has it, and empties its scratch folder.
core::Result<core::Unit> Job::begin() {
  const std::string path = plan_.home + "/lock";
  const auto began = ticks();
  for (int attempts = 1; !lock_; ++attempts) {
    auto lock = sqlite::try_mutex(path, "a backup of " + plan_.name);
    if (lock) {
      lock_ = std::move(*lock);
      break;
    }
    if (!lock.error().is("sqlite.busy")) return std::move(lock).error();
    if (stop_) return core::cancelled();
    const core::Milliseconds waited(ms_since(began));
    if (waited >= plan_.patience) {
      core::Error error = sqlite::name_mutex_holder(
          path,
          {.kind = "backup.busy",
           .message = "another backup of " + plan_.name + " did not end within " + core::format_duration(waited)});
      error.details["waited_ms"] = static_cast<std::int64_t>(waited.count());
      return error;
    }
    std::this_thread::sleep_for(sqlite::pause_after(attempts));
  }
  if (auto removed = core::remove_file_now(plan_.scratch(), true); !removed) return std::move(removed).error();
  if (auto made = core::make_directories_now(plan_.scratch(), 0700); !made) return std::move(made).error();
  // A container may have another user; the plan's own folder, above it, is 0700.
  ::chmod(plan_.scratch().c_str(), plan_.place.user.empty() ? 0700 : 0777);
  return core::Unit{};
}

core::Result<Json> Job::now() {
  const std::int64_t began = wall_ms();
  auto outcome = take();
  remember(outcome, began);
  return outcome;
}

core::Result<Json> Job::take() {
  if (auto begun = begin(); !begun) return std::move(begun).error();
  const auto began = ticks();
  Stored stored;
  stored.name.made = wall_ms();
  auto made = workplace_.copy(kCopy, stop_);
  if (!made) return std::move(made).error();
  stored.name.sha256 = (*made)["sha256"].get<std::string>();
  stored.bytes = (*made)["bytes"].get<std::int64_t>();
  const std::string file = plan_.scratch() + "/" + kCopy;
  auto stores = store_everywhere(file, stored);
  ::unlink(file.c_str());
  if (!stores) return stores;
  return Json{{"id", id_of(stored.name)}, {"file", file_of(plan_.name, stored.name)},
              {"bytes", stored.bytes},    {"contents", (*made)["contents"]},
              {"ms", ms_since(began)},    {"stores", std::move(*stores)}};
}

/// One that fails does not keep the others from having it.
core::Result<Json> Job::store_everywhere(const std::string& file, const Stored& stored) {
  Json stores = Json::array();
  std::vector<core::Error> failures;
  for (const auto& store : stores_) {
    auto removed = store_in(*store, file, stored);
    if (removed) {
      stores.push_back({{"store", store->title()}, {"removed", *removed}});
    } else {
      failures.push_back(std::move(removed).error());
    }
  }
  if (failures.empty()) return stores;
  core::Error first = std::move(failures.front());
  if (stores_.size() > failures.size()) first.message += " (the others have " + id_of(stored.name) + ")";
  first.also.insert(first.also.end(), failures.begin() + 1, failures.end());
  return first;
}

core::Result<std::int64_t> Job::store_in(Store& store, const std::string& file, const Stored& stored) {
  if (auto tidied = store.tidy(stop_); !tidied) return std::move(tidied).error();
  if (auto put = store.put(file, stored, stop_); !put) return std::move(put).error();
  auto all = store.list(stop_);
  if (!all) return std::move(all).error();
  const auto is_it = [&](const Stored& each) {
    return each.name.made == stored.name.made && each.name.sha256 == stored.name.sha256 && each.bytes == stored.bytes;
  };
  if (std::none_of(all->begin(), all->end(), is_it)) {
    return core::Error{.kind = "backup.store", .message = store.title() + ": what was put there is not in its list"};
  }
  std::int64_t count = 0;
  for (const Stored& old : outdated(std::move(*all), stored.name.made, plan_.keep, plan_.at_least)) {
    if (auto removed = store.remove(old.name, stop_); !removed) return std::move(removed).error();
    ++count;
  }
  return count;
}

std::vector<Job::Found> Job::find_all(Json& failed) {
  std::map<std::string, Found> by_file;
  for (const auto& store : stores_) {
    auto all = store->list(stop_);
    if (!all) {
      failed.push_back({{"store", store->title()}, {"error", json::to_json(all.error())}});
      continue;
    }
    for (const Stored& each : *all) {
      Found& found = by_file[file_of(plan_.name, each.name)];
      found.stored = each;
      found.stores.push_back(store.get());
    }
  }
  std::vector<Found> list;
  for (auto& [file, found] : by_file) list.push_back(std::move(found));
  std::sort(list.begin(), list.end(),
            [](const Found& a, const Found& b) { return a.stored.name.made > b.stored.name.made; });
  return list;
}

core::Result<Json> Job::list() {
  Json failed = Json::array(), backups = Json::array();
  for (const Found& found : find_all(failed)) {
    Json titles = Json::array();
    for (const Store* store : found.stores) titles.push_back(store->title());
    backups.push_back({{"id", id_of(found.stored.name)},
                       {"file", file_of(plan_.name, found.stored.name)},
                       {"made_ms", found.stored.name.made},
                       {"bytes", found.stored.bytes},
                       {"stores", std::move(titles)}});
  }
  Json answer{{"backups", std::move(backups)}, {"failed", std::move(failed)}};
  if (auto text = core::read_file_now(plan_.home + "/last.json", 1U << 20U)) {
    if (auto last = json::parse(*text)) answer["last"] = std::move(*last);
  }
  return answer;
}

core::Result<Job::Found> Job::find(const std::string& id) {
  Json failed = Json::array();
  for (Found& found : find_all(failed)) {
    if (id.empty() || id_of(found.stored.name) == id) return std::move(found);
  }
  core::Error error = missing(id);
  // Maybe it is where nobody could look.
  if (!failed.empty()) error.hint = "not every store could be looked at: " + failed[0]["error"].value("message", "");
  return error;
}

core::Result<Job::Fetched> Job::fetch_checked(const std::string& id, const std::string& to) {
  auto found = find(id);
  if (!found) return std::move(found).error();
  std::vector<core::Error> failures;
  for (Store* store : found->stores) {
    Fetched fetched{.stored = found->stored, .store = store->title()};
    auto got = store->get(found->stored.name, to, stop_);
    if (!got) {
      failures.push_back(std::move(got).error());
      continue;
    }
    auto problems = problems_of(to, found->stored.name.sha256, plan_.scratch(), fetched.contents, stop_);
    if (!problems) {
      failures.push_back(std::move(problems).error());
      continue;  // another store may have it whole
    }
    fetched.problems = std::move(*problems);
    return fetched;
  }
  core::Error first = std::move(failures.front());
  first.also.insert(first.also.end(), failures.begin() + 1, failures.end());
  return first;
}

core::Result<Json> Job::drill(const std::string& id) {
  if (auto begun = begin(); !begun) return std::move(begun).error();
  const auto began = ticks();
  const std::string file = plan_.scratch() + "/drill.zst";
  auto fetched = fetch_checked(id, file);
  ::unlink(file.c_str());
  if (!fetched) return std::move(fetched).error();
  return Json{{"id", id_of(fetched->stored.name)}, {"store", fetched->store}, {"bytes", fetched->stored.bytes},
              {"contents", fetched->contents},     {"ms", ms_since(began)},   {"problems", fetched->problems}};
}

core::Result<std::string> Job::kept_file(const std::string& file) const {
  if (!is_plan_name(file)) return core::usage("`" + core::clean(file.substr(0, 80)) + "` can be no file's name");
  return plan_.home + "/restore/" + file;
}

core::Result<Json> Job::fetch(const std::string& id) {
  if (auto begun = begin(); !begun) return std::move(begun).error();
  const std::string file = plan_.scratch() + "/fetched.zst";
  auto fetched = fetch_checked(id, file);
  if (!fetched) return std::move(fetched).error();
  if (!fetched->problems.empty()) {
    return core::Error{.kind = "backup.corrupt",
                       .message = id_of(fetched->stored.name) + " is damaged: " + fetched->problems.front(),
                       .hint = "restore another one"};
  }
  if (auto made = core::make_directories_now(plan_.home + "/restore", 0700); !made) return std::move(made).error();
  const std::string name = id_of(fetched->stored.name) + ".zst";
  if (std::rename(file.c_str(), (plan_.home + "/restore/" + name).c_str()) != 0) {
    return core::file_error("rename", file, errno);
  }
  return Json{{"id", id_of(fetched->stored.name)},
              {"file", name},
              {"bytes", fetched->stored.bytes},
              {"contents", fetched->contents},
              {"store", fetched->store}};
}

core::Result<Json> Job::keep(const std::string& label) {
  const std::string name = "before-" + label + ".zst";
  auto to = kept_file(name);
  if (!to) return std::move(to).error();
  if (auto begun = begin(); !begun) return std::move(begun).error();
  // Done before, by a run that goes on: what is there now is not what was there before.
  auto there = core::stat_file_now(*to);
  if (!there) return std::move(there).error();
  if (*there) return Json{{"file", name}, {"bytes", (*there)->size}};
  auto made = workplace_.copy(kCopy, stop_);
  if (!made && made.error().is("backup.missing")) return Json{{"absent", true}};
  if (!made) return std::move(made).error();
  if (auto folder = core::make_directories_now(plan_.home + "/restore", 0700); !folder) {
    return std::move(folder).error();
  }
  const std::string file = plan_.scratch() + "/" + kCopy;
  if (std::rename(file.c_str(), to->c_str()) != 0) return core::file_error("rename", file, errno);
  return Json{{"file", name}, {"bytes", (*made)["bytes"]}};
}

core::Result<Json> Job::load(const std::string& file) {
  auto from = kept_file(file);
  if (!from) return std::move(from).error();
  if (auto begun = begin(); !begun) return std::move(begun).error();
  // A second name of it where a container can see it.
  if (::link(from->c_str(), (plan_.scratch() + "/" + file).c_str()) != 0) {
    return core::file_error("link", *from, errno);
  }
  // As the scratch folder: for another user in a container, below a folder that is 0700.
  if (!plan_.place.user.empty()) ::chmod(from->c_str(), 0644);
  return workplace_.load(file, {}, stop_);
}

core::Result<Json> Job::check() {
  if (auto begun = begin(); !begun) return std::move(begun).error();
  return workplace_.check(stop_);
}

core::Result<Json> Job::discard(const std::string& file) {
  auto path = kept_file(file);
  if (!path) return std::move(path).error();
  auto removed = core::remove_file_now(*path);
  if (!removed) return std::move(removed).error();
  return Json(*removed);
}

void Job::remember(const core::Result<Json>& outcome, std::int64_t began) const {
  Json last{{"began_ms", began}, {"ended_ms", wall_ms()}, {"ok", outcome.ok()}};
  if (outcome) last["backup"] = *outcome;
  if (!outcome) last["error"] = json::to_json(outcome.error());
  (void)core::write_file_now(plan_.home + "/last.json", json::dump(last), {.mode = 0600});
}

}  // namespace deployrun::backup
