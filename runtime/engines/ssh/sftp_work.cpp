#include "ssh/sftp_work.hpp"

#include <openssl/rand.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <deque>

#include "core/base64.hpp"
#include "core/text.hpp"
#include "ssh/remote_file.hpp"
#include "ssh/streams.hpp"
#include "ssh/tar.hpp"

namespace deployrun::ssh {
namespace {

constexpr std::size_t kSmallFile = 1U << 20U;
constexpr std::size_t kDeepest = 256;

std::optional<std::uint32_t> number(std::string_view text) {
  std::uint32_t value = 0;
  const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || wrong != std::errc{} || end != text.data() + text.size()) return {};
  return value;
}

/// The fields of a name's line in /etc/passwd or /etc/group.
std::vector<std::string> fields_of(const std::string& file, std::string_view name) {
  for (const std::string_view line : core::lines(file)) {
    if (!line.starts_with(std::string(name) + ":")) continue;
    std::vector<std::string> fields;
    for (const std::string_view field : core::split(line, ':')) fields.emplace_back(field);
    return fields;
  }
  return {};
}

/// The name of a number there, or its digits.
std::string name_of(const std::string& file, std::uint32_t wanted) {
  for (const std::string_view line : core::lines(file)) {
    const auto fields = core::split(line, ':');
    if (fields.size() > 2 && number(fields[2]) == wanted) return std::string(fields[0]);
  }
  return std::to_string(wanted);
}

}  // namespace

struct SftpWork::Batch {
  std::vector<sftp::Request> requests;
  bool strict = true;
  std::size_t next = 0;
  std::size_t open = 0;
  std::function<void()> then;
};

struct SftpWork::Walk {
  std::string folder;
  std::deque<std::string> waiting;  // folders, by their names below it
  std::size_t open = 0;
  Listing found;
  std::function<void(Listing)> then;
};

std::string unfinished_name(const std::string& path) {
  std::array<unsigned char, 6> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) throw std::bad_alloc();
  const std::string folder = folder_of(path);
  return (folder == "/" ? "" : folder) + "/.deployrun." +
         core::hex_encode({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

SftpWork::SftpWork(std::shared_ptr<Session> session, std::string what)
    : session_(std::move(session)), what_(std::move(what)), grace_(session_->loop()) {}

SftpWork::~SftpWork() {
  if (client_) client_->close();
}

void SftpWork::connect(std::function<void()> then) {
  ++busy_;
  opening_ = std::make_unique<OpenSubsystem>(session_, "sftp");
  opening_->start([this, then = std::move(then)](core::Result<std::unique_ptr<core::Stream>> stream) {
    if (!stream) {
      fail(stream.error());
      return end_job();
    }
    client_ = std::make_shared<Sftp>(session_->loop(), std::move(stream).value(), session_->host());
    client_->begin([this, then](core::Result<core::Unit> ready) {
      if (!ready) {
        fail(ready.error());
      } else if (!error_) {
        then();
      }
      end_job();
    });
  });
}

void SftpWork::try_ask(const sftp::Request& request, Then then) {
  ++busy_;
  client_->ask(request,
               [this, weak = std::weak_ptr<bool>(alive_), then = std::move(then)](core::Result<sftp::Answer> answer) {
                 if (weak.expired()) return;
                 if (!answer) {
                   fail(answer.error());
                 } else if (!error_ || tidying_) {
                   then(std::move(*answer));
                 }
                 end_job();
               });
}

void SftpWork::ask(const sftp::Request& request, Then then) {
  try_ask(request, [this, then = std::move(then)](sftp::Answer answer) {
    if (answer.type == sftp::Type::status && answer.code != sftp::kOk) return fail(refusal(answer));
    then(std::move(answer));
  });
}

void SftpWork::ask_all(std::vector<sftp::Request> requests, bool strict, std::function<void()> then) {
  auto batch = std::make_shared<Batch>();
  batch->requests = std::move(requests);
  batch->strict = strict;
  batch->then = std::move(then);
  pass(batch);
}

void SftpWork::pass(const std::shared_ptr<Batch>& batch) {
  while (batch->open < kAtOnce && batch->next < batch->requests.size()) {
    ++batch->open;
    const auto answered = [this, batch](const sftp::Answer&) {
      --batch->open;
      pass(batch);
    };
    const sftp::Request& request = batch->requests[batch->next++];
    batch->strict ? ask(request, answered) : try_ask(request, answered);
  }
  if (batch->open == 0 && batch->then) std::exchange(batch->then, nullptr)();
}

void SftpWork::walk(const std::string& folder, std::function<void(Listing)> then) {
  auto walk = std::make_shared<Walk>();
  walk->folder = folder;
  walk->waiting.emplace_back();
  walk->then = std::move(then);
  step(walk);
}

void SftpWork::step(const std::shared_ptr<Walk>& walk) {
  while (walk->open < kFoldersAtOnce && !walk->waiting.empty()) {
    const std::string below = walk->waiting.front();
    walk->waiting.pop_front();
    ++walk->open;
    const std::string path = below.empty() ? walk->folder : walk->folder + "/" + below;
    ask(sftp::on_path(sftp::Type::opendir, path),
        [this, walk, below](const sftp::Answer& answer) { list(walk, below, answer.text); });
  }
  if (walk->open == 0 && walk->then) std::exchange(walk->then, nullptr)(std::move(walk->found));
}

void SftpWork::list(const std::shared_ptr<Walk>& walk, const std::string& below, const std::string& handle) {
  try_ask(sftp::on_handle(sftp::Type::readdir, handle), [this, walk, below, handle](sftp::Answer answer) {
    if (answer.type == sftp::Type::status) {
      if (answer.code != sftp::kEof) return fail(refusal(answer));
      try_ask(sftp::close(handle));
      --walk->open;
      return step(walk);
    }
    for (sftp::Name& entry : answer.names) {
      if (entry.name == "." || entry.name == "..") continue;
      if (entry.name.empty() || entry.name.find('/') != std::string::npos || entry.name.find('\0') != std::string::npos)
        return fail(kFileDiffers, "its listing has a name that no file can have");
      if (!below.empty()) entry.name.insert(0, below + "/");
      if (walk->found.size() >= kTreeEntriesLimit) return fail(kFileDiffers, "too many entries");
      if (is_folder(entry.attributes)) {
        if (static_cast<std::size_t>(std::count(entry.name.begin(), entry.name.end(), '/')) > kDeepest)
          return fail(kFileDiffers, "folders too deep in each other");
        walk->waiting.push_back(entry.name);
      }
      walk->found.push_back(std::move(entry));
    }
    list(walk, below, handle);
  });
}

void SftpWork::remove_tree(const std::string& folder, std::function<void()> then) {
  walk(folder, [this, folder, then = std::move(then)](const Listing& listing) {
    std::vector<sftp::Request> requests;
    for (auto at = listing.rbegin(); at != listing.rend(); ++at) {
      const auto type = is_folder(at->attributes) ? sftp::Type::rmdir : sftp::Type::remove;
      requests.push_back(sftp::on_path(type, folder + "/" + at->name));
    }
    requests.push_back(sftp::on_path(sftp::Type::rmdir, folder));
    ask_all(std::move(requests), false, then);
  });
}

void SftpWork::make_parents(const std::string& path, std::function<void()> then) {
  std::vector<sftp::Request> requests;
  for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    requests.push_back(sftp::make_folder(path.substr(0, at), 0755));
  ask_all(std::move(requests), false, std::move(then));
}

std::unique_ptr<SftpReader> SftpWork::reader(const std::string& handle, std::uint64_t size,
                                             std::function<void(std::string)> bytes, std::function<void()> end,
                                             std::uint64_t window) {
  const auto refused = [this](const sftp::Answer& answer) {
    answer.type == sftp::Type::status&& answer.code == sftp::kEof ? fail(kFileDiffers) : fail(refusal(answer));
  };
  return std::make_unique<SftpReader>(
      [this](const sftp::Request& request, Then then) { try_ask(request, std::move(then)); }, handle, size,
      SftpReader::Events{std::move(bytes), std::move(end), refused}, window);
}

void SftpWork::slurp(const std::string& path, std::function<void(std::optional<std::string>)> then) {
  auto bytes = std::make_shared<std::string>();
  auto next = std::make_shared<std::function<void(std::string)>>();
  *next = [this, bytes, then, weak = std::weak_ptr(next)](const std::string& handle) {
    const auto again = weak.lock();
    try_ask(sftp::read(handle, bytes->size(), sftp::kPiece), [this, bytes, then, again, handle](sftp::Answer answer) {
      *bytes += answer.type == sftp::Type::data ? answer.text : "";
      if (answer.type == sftp::Type::data && bytes->size() < kSmallFile) return (*again)(handle);
      try_ask(sftp::close(handle));
      then(*bytes);
    });
  };
  try_ask(sftp::open_file(path, sftp::kRead), [then, next](const sftp::Answer& answer) {
    if (answer.type != sftp::Type::handle) return then({});
    (*next)(answer.text);
  });
}

void SftpWork::resolve_owner(const std::string& owner, std::uint32_t group, std::function<void(sftp::Owner)> then) {
  const std::size_t colon = owner.find(':');
  const std::string user_name = owner.substr(0, colon);
  const std::string group_name = colon == std::string::npos ? std::to_string(group) : owner.substr(colon + 1);
  slurp("/etc/passwd", [=, this, then = std::move(then)](const std::optional<std::string>& users) {
    const auto fields = fields_of(users.value_or(""), user_name);
    const auto user = number(fields.size() > 2 ? fields[2] : user_name);
    if (!user) return fail(98, "no user \"" + user_name + "\" in the server's /etc/passwd; give a number");
    slurp("/etc/group", [=, this](const std::optional<std::string>& groups) {
      const auto group_fields = fields_of(groups.value_or(""), group_name);
      const auto found = number(group_fields.size() > 2 ? group_fields[2] : group_name);
      if (!found) return fail(98, "no group \"" + group_name + "\" in the server's /etc/group; give a number");
      then({*user, *found});
    });
  });
}

void SftpWork::name_owner(sftp::Owner owner, std::function<void(std::string, std::string)> then) {
  slurp("/etc/passwd", [=, this, then = std::move(then)](const std::optional<std::string>& users) {
    const std::string user = name_of(users.value_or(""), owner.user);
    slurp("/etc/group",
          [=](const std::optional<std::string>& groups) { then(user, name_of(groups.value_or(""), owner.group)); });
  });
}

void SftpWork::end_job() {
  --busy_;
  settle();
}

void SftpWork::fail(core::Error error) {
  if (error_ || over_) return;
  error_ = std::move(error);
  settle_later();
}

void SftpWork::fail(int code, const std::string& said) { fail(transfer_failure(what_, session_->host(), code, said)); }

void SftpWork::complete() {
  complete_ = true;
  settle_later();
}

void SftpWork::stop() {
  if (error_ || over_) return;
  fail(core::cancelled());
  grace_.start(kGrace, [this] {
    if (client_) client_->close();
    client_.reset();
    busy_ = 0;
    settle();
  });
  if (!client_ && opening_) opening_->cancel();  // may be the end of this
}

core::Error SftpWork::refusal(const sftp::Answer& answer) const {
  const int code = answer.code == sftp::kNoSuchFile ? kFileNotFound : 98;
  return transfer_failure(what_, session_->host(), code, answer.text.empty() ? "refused by the server" : answer.text);
}

bool SftpWork::is_folder(const sftp::Attributes& attributes) { return attributes.mode && S_ISDIR(*attributes.mode); }

void SftpWork::settle_later() {
  session_->loop().defer([this, weak = std::weak_ptr<bool>(alive_)] {
    if (!weak.expired()) settle();
  });
}

void SftpWork::settle() {
  if (over_ || busy_ > 0) return;
  if (error_ && client_ && client_->alive() && !tidying_) {
    tidying_ = true;
    ++busy_;  // an answer to one of its requests must not end the work before it has returned
    tidy();
    --busy_;
    if (busy_ > 0) return;
  }
  if (!error_ && !complete_) return;
  over_ = true;
  grace_.cancel();
  if (client_) client_->close();
  over(std::move(error_));
}

}  // namespace deployrun::ssh
