#include "docker/archives.hpp"

#include "core/text.hpp"
#include "http/upload.hpp"

namespace deployrun::docker {

namespace {

Ask about_archive(const std::string& verb, const std::string& name, const std::string& path) {
  if (path.empty() || path.front() != '/')
    throw core::Failure(core::usage("`" + path + "`: a path in a container is absolute"));
  Ask ask{.what = verb + " " + path + " of " + name, .path = "/containers/" + name_part(name) + "/archive"};
  ask.query = {{"path", path}};
  return ask;
}

/// Collects the members of an archive up to the limit.
struct Unpacked {
  std::vector<ArchiveEntry> entries;
  std::uint64_t bytes = 0;
  bool too_large = false;
  std::optional<core::Error> broken;
  TarReader reader{{.member =
                        [this](const TarMember& member, std::string_view) {
                          bytes += member.size;
                          if (bytes > kMostArchive) too_large = true;
                          if (!too_large) entries.push_back({member, {}});
                        },
                    .data =
                        [this](std::string_view piece) {
                          if (!too_large) entries.back().bytes += piece;
                        }}};
};

void check_name(const std::string& name) {
  bool wrong = name.empty() || name.front() == '/' || name.find('\0') != name.npos;
  for (const std::string_view part : core::split(name, '/')) wrong = wrong || part == "..";
  if (wrong) throw core::Failure(core::usage("`" + name + "` cannot be a file's name in an archive"));
}

}  // namespace

Op<std::vector<ArchiveEntry>> get_archive(ClientPtr client, const std::string& name, const std::string& path) {
  Ask ask = about_archive("read", name, path);
  auto unpacked = std::make_shared<Unpacked>();
  ask.on_body = [unpacked](const http::Reply&, std::string_view bytes) {
    if (!unpacked->broken) {
      if (auto fed = unpacked->reader.feed(bytes); !fed) unpacked->broken = std::move(fed).error();
    }
    return http::Flow::taken;
  };
  using Entries = std::vector<ArchiveEntry>;
  return chain<Entries>([client, ask, unpacked](Chain<Entries>& steps) {
    steps.then<http::Reply>(std::make_unique<Answer>(client, ask), [&steps, client, ask, unpacked](const http::Reply&) {
      if (unpacked->broken)
        return steps.finish(core::wrap(client->misunderstood(ask, "no archive"), *unpacked->broken));
      if (!unpacked->reader.complete()) return steps.finish(client->misunderstood(ask, "the archive was cut off"));
      if (unpacked->too_large) {
        return steps.finish(core::Error{
            .kind = "docker.too_large", .message = ask.what + ": more than 64 MiB", .host = client->host()});
      }
      steps.finish(std::move(unpacked->entries));
    });
  });
}

Op<core::Unit> put_archive(ClientPtr client, const std::string& name, const std::string& path,
                           const std::vector<ArchiveEntry>& entries) {
  Ask ask = about_archive("write to", name, path);
  ask.method = "PUT";
  ask.query.emplace_back("noOverwriteDirNonDir", "1");
  ask.headers = {{"Content-Type", "application/x-tar"}};
  auto upload = std::make_shared<http::Upload>();
  for (const ArchiveEntry& entry : entries) {
    check_name(entry.member.name);
    upload->write(tar_member(entry.member, entry.bytes));
  }
  upload->write(tar_end());
  upload->finish();
  ask.upload = std::move(upload);
  return chain<core::Unit>([client, ask](Chain<core::Unit>& steps) {
    steps.then<core::Unit>(settle(client), [&steps, client, ask](core::Unit) {
      steps.then<core::Unit>(ask_unit(client, ask), [&steps](core::Unit) { steps.finish(core::Unit{}); });
    });
  });
}

}  // namespace deployrun::docker
