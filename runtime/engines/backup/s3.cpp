#include "backup/s3.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "backup/hash.hpp"
#include "backup/packed.hpp"
#include "backup/xml.hpp"
#include "core/file_pieces.hpp"
#include "core/files.hpp"
#include "core/text.hpp"

namespace deployrun::backup {

namespace {

constexpr std::int64_t kMostParts = 9'000;  // S3 takes 10,000
constexpr int kDownloads = 3;
constexpr int kMostPages = 1'000;
constexpr const char* kEmpty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";  // SHA-256 of ""

core::Result<std::string> hash_of_part(const std::string& path, std::int64_t offset, std::int64_t length) {
  const core::Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.open()) return core::file_error("read", path, errno);
  Hash hash;
  std::string piece(256U << 10U, '\0');
  while (length > 0) {
    const auto most = static_cast<std::size_t>(std::min<std::int64_t>(length, static_cast<std::int64_t>(piece.size())));
    const ssize_t found = ::pread(file.get(), piece.data(), most, offset);
    if (found < 0) return core::file_error("read", path, errno);
    if (found == 0) return core::Error{.kind = "files.io", .message = path + " became shorter"};
    hash.add({piece.data(), static_cast<std::size_t>(found)});
    offset += found;
    length -= found;
  }
  return hash.finish();
}

class Bucketful final : public Store {
 public:
  Bucketful(std::string plan, Bucket bucket, Account account)
      : plan_(std::move(plan)),
        place_(std::move(bucket)),
        caller_(std::move(account), place_.region, place_.authorities) {
    base_ = place_.endpoint;
    while (!base_.empty() && base_.back() == '/') base_.pop_back();
    if (place_.bucket_in_host) {
      const std::size_t host = base_.find("://") + 3;
      base_.insert(host, place_.bucket + ".");
    } else {
      base_ += "/" + core::percent_encode(place_.bucket);
    }
  }

  std::string title() const override { return "s3 " + base_ + "/" + place_.prefix; }

  core::Result<std::vector<Stored>> list(const Stop& stop) override {
    std::vector<Stored> found;
    std::string from;
    for (int page = 0; page < kMostPages; ++page) {
      std::string query = "?list-type=2&max-keys=1000&prefix=" + core::percent_encode(place_.prefix + plan_ + "-");
      if (!from.empty()) query += "&continuation-token=" + core::percent_encode(from);
      auto answer = ask({.url = base_ + "/" + query, .sha256 = kEmpty}, stop);
      if (!answer) return std::move(answer).error();
      for (const std::string_view object : xml_elements(answer->body, "Contents")) {
        const auto name = name_of(xml_text(object, "Key"));
        if (name) found.push_back({.name = *name, .bytes = std::atoll(xml_text(object, "Size").c_str())});
      }
      from = xml_text(answer->body, "NextContinuationToken");
      if (xml_text(answer->body, "IsTruncated") != "true" || from.empty()) return found;
    }
    return core::Error{.kind = "backup.store", .message = title() + ": the list has no end"};
  }

  core::Result<core::Unit> put(const std::string& from, const Stored& what, const Stop& stop) override {
    auto sent = what.bytes > 2 * place_.part ? put_in_parts(from, what, stop) : put_whole(from, what, stop);
    // An upload that was completed although its answer got lost is not there any more when it is asked for again.
    if (!sent && !sent.error().is("backup.missing")) return sent;
    auto there = ask({.method = "HEAD", .url = url_of(what.name), .sha256 = kEmpty}, stop);
    if (!there) return std::move(there).error();
    if (there->length == what.bytes) return core::Unit{};
    return core::Error{.kind = "backup.store",
                       .message = title() + ": it says that it has " + std::to_string(there->length) + " bytes of " +
                                  std::to_string(what.bytes)};
  }

  core::Result<core::Unit> get(const Name& what, const std::string& to, const Stop& stop) override {
    for (int tries = 1;; ++tries) {
      auto got = download(what, to, stop);
      if (got || stop || tries == kDownloads || !got.error().is("backup.store")) return got;
    }
  }

  core::Result<core::Unit> remove(const Name& what, const Stop& stop) override {
    return no_answer(ask({.method = "DELETE", .url = url_of(what), .sha256 = kEmpty}, stop));
  }

  core::Result<core::Unit> tidy(const Stop& stop) override {
    const std::string query = "?uploads=&prefix=" + core::percent_encode(place_.prefix + plan_ + "-");
    auto answer = ask({.url = base_ + "/" + query, .sha256 = kEmpty}, stop);
    if (!answer) return std::move(answer).error();
    for (const std::string_view upload : xml_elements(answer->body, "Upload")) {
      const std::string key = xml_text(upload, "Key");
      if (!name_of(key)) continue;
      auto aborted = abort(base_ + "/" + core::percent_encode(key, "/"), xml_text(upload, "UploadId"), stop);
      if (!aborted) return aborted;
    }
    return core::Unit{};
  }

 private:
  std::string url_of(const Name& name) const {
    return base_ + "/" + core::percent_encode(place_.prefix + file_of(plan_, name), "/");
  }
  std::optional<Name> name_of(std::string_view key) const {
    if (key.substr(0, place_.prefix.size()) != place_.prefix) return {};
    return parse_name(plan_, key.substr(place_.prefix.size()));
  }
  static core::Result<core::Unit> no_answer(core::Result<Answer> answer) {
    if (!answer) return std::move(answer).error();
    return core::Unit{};
  }

  /// A successful answer, or what the store says is wrong.
  core::Result<Answer> ask(const Request& request, const Stop& stop) {
    auto answer = caller_.call(request, stop);
    if (!answer) return answer;
    // Completing an upload is answered with 200 before it is known whether it can be done.
    if (answer->status / 100 == 2 && xml_elements(answer->body, "Error").empty()) return answer;
    const std::string_view place = std::string_view(request.url).substr(0, request.url.find('?'));
    core::Error error{.kind = "backup.store",
                      .message = request.method + " " + std::string(place) + ": status " +
                                 std::to_string(answer->status) + why(*answer)};
    error.details["status"] = static_cast<std::int64_t>(answer->status);
    if (answer->status == 401 || answer->status == 403) {
      error.kind = "backup.denied";
      error.hint =
          "are the keys this store's, may they read, write, list and delete there, is the server's clock right?";
    }
    if (answer->status == 404) error.kind = "backup.missing";
    return error;
  }
  static std::string why(const Answer& answer) {
    const std::string code = xml_text(answer.body, "Code"), message = xml_text(answer.body, "Message");
    std::string text;
    for (const std::string& each : {code, message}) {
      if (!each.empty()) text += ", " + core::clean(each.substr(0, 200));
    }
    return text;
  }

  core::Result<core::Unit> put_whole(const std::string& from, const Stored& what, const Stop& stop) {
    return no_answer(
        ask({.method = "PUT", .url = url_of(what.name), .file = from, .length = what.bytes, .sha256 = what.name.sha256},
            stop));
  }

  core::Result<core::Unit> put_in_parts(const std::string& from, const Stored& what, const Stop& stop) {
    const std::string url = url_of(what.name);
    auto begun = ask({.method = "POST", .url = url + "?uploads=", .sha256 = kEmpty}, stop);
    if (!begun) return std::move(begun).error();
    const std::string upload = xml_text(begun->body, "UploadId");
    if (upload.empty()) return core::Error{.kind = "backup.store", .message = title() + ": an upload without an ID"};
    auto sent = send_parts(url, upload, from, what.bytes, stop);
    if (!sent) {
      static const Stop kGoOn{false};  // also where we are told to stop: parts cost their owner money
      (void)abort(url, upload, kGoOn);
    }
    return sent;
  }

  core::Result<core::Unit> send_parts(const std::string& url, const std::string& upload, const std::string& from,
                                      std::int64_t bytes, const Stop& stop) {
    const std::int64_t part = std::max(place_.part, bytes / kMostParts + 1);
    const std::string id = "uploadId=" + core::percent_encode(upload);
    std::string list = "<CompleteMultipartUpload>";
    int number = 0;
    for (std::int64_t offset = 0; offset < bytes; offset += part) {
      const std::int64_t length = std::min(part, bytes - offset);
      auto hash = hash_of_part(from, offset, length);
      if (!hash) return std::move(hash).error();
      const std::string query = "?partNumber=" + std::to_string(++number) + "&" + id;
      auto answer =
          ask({.method = "PUT", .url = url + query, .file = from, .offset = offset, .length = length, .sha256 = *hash},
              stop);
      if (!answer) return std::move(answer).error();
      list += "<Part><PartNumber>" + std::to_string(number) + "</PartNumber><ETag>" + xml_escape(answer->etag) +
              "</ETag></Part>";
    }
    list += "</CompleteMultipartUpload>";
    const std::string hash = sha256_of(list);
    return no_answer(ask({.method = "POST", .url = url + "?" + id, .body = list, .sha256 = hash}, stop));
  }

  core::Result<core::Unit> abort(const std::string& url, const std::string& upload, const Stop& stop) {
    const std::string query = "?uploadId=" + core::percent_encode(upload);
    return no_answer(ask({.method = "DELETE", .url = url + query, .sha256 = kEmpty}, stop));
  }

  core::Result<core::Unit> download(const Name& what, const std::string& to, const Stop& stop) {
    auto file = core::NewFile::create(to);
    if (!file) return std::move(file).error();
    std::optional<core::Error> failed;
    const auto take = [&](std::string_view piece) {
      auto written = (*file)->write(piece);
      if (!written) failed = std::move(written).error();
      return !failed;
    };
    auto answer = ask({.url = url_of(what), .sha256 = kEmpty, .take = take}, stop);
    if (failed) return *failed;
    if (!answer) return std::move(answer).error();
    return (*file)->commit(0600);
  }

  std::string plan_;
  Bucket place_;
  Caller caller_;
  std::string base_;
};

}  // namespace

std::unique_ptr<Store> open_bucket(std::string plan, Bucket bucket, Account account) {
  return std::make_unique<Bucketful>(std::move(plan), std::move(bucket), std::move(account));
}

}  // namespace deployrun::backup
