#include "docker/ship.hpp"

#include <algorithm>
#include <set>

#include "docker/shape.hpp"
#include "docker/tar.hpp"
#include "http/upload.hpp"

namespace deployrun::docker {

namespace {

constexpr std::size_t kMostLooks = 20;  // images of the other engine whose layers are compared
constexpr std::size_t kMostManifest = 1U << 20U;

using Texts = std::vector<std::string>;

Texts texts_of(const Json& list) {
  Texts all;
  if (!list.is_array()) return all;
  for (const Json& one : list) {
    if (one.is_string()) all.push_back(one.get<std::string>());
  }
  return all;
}

Texts layers_of(const Json& image) {
  const Json& raw = image["raw"];
  return raw.contains("RootFS") && raw["RootFS"].contains("Layers") ? texts_of(raw["RootFS"]["Layers"]) : Texts();
}

/// What makes an image what it is: its files, and how it is run. IDs differ from one kind of store to the other.
Json essence(const Json& image) {
  Json all = layers_of(image);
  for (const char* key : {"created", "os", "architecture", "cmd", "entrypoint", "env", "labels", "user", "workdir"})
    all.push_back(image.value(key, Json()));
  return all;
}

struct Job {
  ClientPtr from, to;
  std::string image;
  std::function<void(const Progress&)> on_progress;
  std::string id;  // at the engine it comes from
  Json essence;
  Texts layers;                   // digests of what they hold, lowest first
  std::vector<Texts> there;       // the layers of images that the other engine has
  std::size_t shared = 0;         // how many of the lowest the other engine has
  std::set<std::string> without;  // files of the archive that stay behind
  Shipped shipped;
};
using JobPtr = std::shared_ptr<Job>;
using Steps = Chain<Shipped>;

Ask ask_save(const Job& job) {
  return {.what = "save " + job.image, .path = "/images/" + image_part(job.image) + "/get"};
}

/// The archive of one engine, on its way into the other: a pipe with the filter in between.
class Transfer final : public core::Operation<core::Unit> {
 public:
  explicit Transfer(JobPtr job)
      : job_(std::move(job)),
        upload_(std::make_shared<http::Upload>()),
        filter_(
            job_->without, [this](std::string bytes) { pass(std::move(bytes)); }, "docker.protocol") {
    Ask ask = ask_save(*job_);
    ask.on_body = [this](const http::Reply&, std::string_view bytes) {
      if (upload_->full()) return http::Flow::pause;
      if (auto fed = filter_.feed(bytes); !fed) upload_->fail(std::move(fed).error());
      return http::Flow::taken;
    };
    save_ = std::make_unique<Answer>(job_->from, std::move(ask));
    load_ = load_images(job_->to, upload_);
    upload_->on_room = [this] {
      if (save_) save_->resume();
    };
  }
  ~Transfer() override {
    upload_->on_room = nullptr;
    save_.reset();  // its callbacks reach into this
  }

  void start(Done done) override {
    job_->shipped.bytes = 0;
    save_->start([this](core::Result<http::Reply> reply) {
      if (!reply) return upload_->fail(std::move(reply).error());
      if (auto ended = filter_.finish(); !ended) return upload_->fail(std::move(ended).error());
      upload_->finish();
    });
    load_->start([this, done = std::move(done)](core::Result<Texts> loaded) mutable {
      auto tell = std::move(done);  // `done` may destroy this
      save_->cancel();
      if (!loaded) return tell(std::move(loaded).error());
      tell(core::Unit{});
    });
  }
  void cancel() noexcept override { load_->cancel(); }

 private:
  void pass(std::string bytes) {
    job_->shipped.bytes += bytes.size();
    upload_->write(std::move(bytes));
    if (!job_->on_progress) return;
    Progress progress;
    progress.layers = job_->shipped.sent;
    progress.bytes = job_->shipped.bytes;
    progress.status = "Shipping";
    job_->on_progress(progress);
  }

  JobPtr job_;
  std::shared_ptr<http::Upload> upload_;
  core::TarFilter filter_;
  std::unique_ptr<Answer> save_;
  Op<Texts> load_;
};

/// The archive's list of layer files, lowest first. The engine writes it last, so the archive is read once for it
/// alone; that is this machine's disk, not the line.
Op<Texts> layer_files(const JobPtr& job) {
  struct Manifest {
    std::string text;
    bool wanted = false;
    TarReader reader{{.member =
                          [this](const TarMember& member, std::string_view) {
                            wanted = member.name == "manifest.json" && member.size <= kMostManifest;
                          },
                      .data =
                          [this](std::string_view bytes) {
                            if (wanted) text += bytes;
                          }}};
  };
  auto manifest = std::make_shared<Manifest>();
  Ask ask = ask_save(*job);
  ask.on_body = [manifest](const http::Reply&, std::string_view bytes) {
    (void)manifest->reader.feed(bytes);  // what cannot be read has no list
    return http::Flow::taken;
  };
  return chain<Texts>([client = job->from, ask, manifest](Chain<Texts>& steps) {
    steps.then<http::Reply>(std::make_unique<Answer>(client, ask), [&steps, manifest](const http::Reply&) {
      const auto list = json::parse(manifest->text);
      const bool known = list && list->is_array() && list->size() == 1 && list->front().contains("Layers");
      steps.finish(known ? texts_of(list->front()["Layers"]) : Texts());
    });
  });
}

core::Error differs(const Job& job) {
  return {.kind = "docker.ship",
          .message = "ship " + job.image + ": what arrived is not the image that was sent",
          .host = job.to->host()};
}

void check_arrived(Steps& steps, const JobPtr& job) {
  steps.then<Json>(inspect_image(job->to, job->image), [&steps, job](const Json& image) {
    if (essence(image) != job->essence) return steps.finish(differs(*job));
    job->shipped.id = text_at(image, "id");
    job->shipped.changed = true;
    steps.finish(job->shipped);
  });
}

void transfer(Steps& steps, const JobPtr& job) {
  job->shipped.sent = static_cast<int>(job->layers.size() - (job->without.empty() ? 0 : job->shared));
  Op<core::Unit> piped = std::make_unique<Transfer>(job);
  steps.any<core::Unit>(std::move(piped), [&steps, job](core::Result<core::Unit> done) {
    if (done) return check_arrived(steps, job);
    // An engine that wants to see the layers it has: all of them then.
    const bool again = !job->without.empty() && !done.error().is("cancelled") && !done.error().is("docker.lost");
    if (!again) return steps.finish(std::move(done).error());
    job->without.clear();
    transfer(steps, job);
  });
}

/// Which files of the archive stay behind: those of layers that are there, and that no layer to come is made of too.
void choose_files(Steps& steps, const JobPtr& job) {
  steps.then<Texts>(layer_files(job), [&steps, job](const Texts& files) {
    const std::set<std::string> needed(job->layers.begin() + static_cast<std::ptrdiff_t>(job->shared),
                                       job->layers.end());
    for (std::size_t index = 0; index < job->shared && files.size() == job->layers.size(); ++index) {
      if (needed.count(job->layers[index]) == 0) job->without.insert(files[index]);
    }
    transfer(steps, job);
  });
}

/// One look after the other at what the other engine has.
void compare(Steps& steps, const JobPtr& job, Texts ids) {
  if (ids.empty()) {
    job->shared = shared_layers(job->layers, job->there);
    return job->shared == 0 ? transfer(steps, job) : choose_files(steps, job);
  }
  const std::string id = ids.back();
  ids.pop_back();
  steps.any<Json>(inspect_image(job->to, id), [&steps, job, ids](const core::Result<Json>& image) {
    // It may have been removed meanwhile.
    if (image) job->there.push_back(layers_of(*image));
    compare(steps, job, ids);
  });
}

void look_there(Steps& steps, const JobPtr& job) {
  steps.then<Json>(list_images(job->to), [&steps, job](const Json& list) {
    Texts ids;
    for (const Json& one : list) {
      const std::string id = text_at(one, "id");
      if (id == job->id) {
        // Only the name is missing.
        return steps.then<core::Unit>(tag_image(job->to, id, job->image),
                                      [&steps, job](core::Unit) { check_arrived(steps, job); });
      }
      ids.push_back(id);
    }
    if (ids.size() > kMostLooks) ids.resize(kMostLooks);  // the engine lists the newest first
    steps.then<core::Unit>(settle(job->to), [&steps, job, ids](core::Unit) { compare(steps, job, ids); });
  });
}

}  // namespace

std::size_t shared_layers(const Texts& wanted, const std::vector<Texts>& there) {
  std::size_t most = 0;
  for (const Texts& one : there) {
    const auto differ = std::mismatch(wanted.begin(), wanted.end(), one.begin(), one.end()).first;
    most = std::max(most, static_cast<std::size_t>(differ - wanted.begin()));
  }
  return most;
}

Op<Shipped> ship(ClientPtr from, ClientPtr to, const std::string& image,
                 std::function<void(const Progress&)> on_progress) {
  auto reference = parse_reference(image);
  if (!reference) throw core::Failure(reference.error());
  auto job = std::make_shared<Job>();
  job->from = std::move(from);
  job->to = std::move(to);
  job->image = image;
  job->on_progress = std::move(on_progress);
  return chain<Shipped>([job](Steps& steps) {
    steps.then<Json>(inspect_image(job->from, job->image), [&steps, job](const Json& here) {
      job->id = text_at(here, "id");
      job->essence = essence(here);
      job->layers = layers_of(here);
      job->shipped.layers = static_cast<int>(job->layers.size());
      steps.any<Json>(inspect_image(job->to, job->image), [&steps, job](const core::Result<Json>& there) {
        if (!there && !there.error().is("docker.not_found")) return steps.finish(there.error());
        const bool same = there && (text_at(*there, "id") == job->id || essence(*there) == job->essence);
        if (!same) return look_there(steps, job);
        job->shipped.id = text_at(*there, "id");
        steps.finish(job->shipped);
      });
    });
  });
}

}  // namespace deployrun::docker
