#include "docker/image_files.hpp"

#include <algorithm>

#include "core/file_pieces.hpp"
#include "core/pool.hpp"
#include "docker/image_archive.hpp"
#include "docker/shape.hpp"
#include "http/upload.hpp"

namespace deployrun::docker {

namespace {

constexpr std::size_t kPiece = 512U << 10U;
constexpr std::size_t kMostWaiting = 1U << 20U;  // bytes that the disk has not taken yet
constexpr mode_t kMode = 0600;

using Told = std::function<void(const Progress&)>;
using Steps = Chain<ImageFile>;

Progress progress_of(std::uint64_t bytes, std::uint64_t total, const char* status) {
  Progress progress;
  progress.bytes = bytes;
  progress.total_bytes = std::max(bytes, total);
  progress.status = status;
  return progress;
}

/// The engine's archive on its way into a file.
class Save final : public core::Operation<std::uint64_t> {
 public:
  Save(ClientPtr client, Ask ask, std::string path, std::uint64_t expected, Told told)
      : client_(std::move(client)),
        ask_(std::move(ask)),
        path_(std::move(path)),
        expected_(expected),
        told_(std::move(told)) {}
  ~Save() override { answer_.reset(); }  // its callback reaches into this

  void start(Done done) override {
    done_ = std::move(done);
    create_ = std::make_unique<Create>(client_->http().loop(), [path = path_] { return core::NewFile::create(path); });
    create_->start([this](core::Result<std::shared_ptr<core::NewFile>> file) {
      if (!file) return finish(std::move(file).error());
      file_ = std::move(*file);
      receive();
    });
  }

  void cancel() noexcept override {
    if (answer_) return stop(core::cancelled());
    if (create_) create_->cancel();
  }

 private:
  using Create = core::PoolJob<std::shared_ptr<core::NewFile>>;
  using Write = core::PoolJob<core::Unit>;

  void receive() {
    ask_.on_body = [this](const http::Reply&, std::string_view bytes) {
      if (stopped_) return http::Flow::taken;
      if (waiting_.size() >= kMostWaiting) return http::Flow::pause;
      waiting_ += bytes;
      if (!broken_) {
        if (auto fed = archive_.feed(bytes); !fed) broken_ = std::move(fed).error();
      }
      write();
      return http::Flow::taken;
    };
    answer_ = std::make_unique<Answer>(client_, ask_);
    answer_->start([this](core::Result<http::Reply> reply) {
      received_ = true;
      if (stopped_) return;
      if (!reply) return stop(std::move(reply).error());
      write();
    });
  }

  void write() {
    if (writing_ || committing_) return;
    if (error_) return finish(std::move(*error_));
    if (waiting_.empty()) return received_ ? commit() : void();
    writing_ = true;
    bytes_ += waiting_.size();
    put([file = file_, bytes = std::exchange(waiting_, {})] { return file->write(bytes); });
    if (told_) told_(progress_of(bytes_, expected_, "Saving"));
  }

  void put(std::function<core::Result<core::Unit>()> work) {
    write_ = std::make_unique<Write>(client_->http().loop(), std::move(work));
    write_->start([this](core::Result<core::Unit> done) {
      writing_ = false;
      if (committing_) return finish(done ? core::Result<std::uint64_t>(bytes_) : std::move(done).error());
      if (!done) return stop(std::move(done).error());
      if (!received_) answer_->resume();
      write();
    });
  }

  void commit() {
    if (broken_) return finish(core::wrap(client_->misunderstood(ask_, "no archive"), std::move(*broken_)));
    if (!archive_.complete()) return finish(client_->misunderstood(ask_, "the archive was cut off"));
    committing_ = true;
    put([file = file_] { return file->commit(kMode); });
  }

  /// Ends it once the disk is done with what it was given.
  void stop(core::Error error) {
    if (committing_ || std::exchange(stopped_, true)) return;
    error_ = std::move(error);
    if (!received_) answer_->cancel();
    write();
  }

  void finish(core::Result<std::uint64_t> result) {
    auto done = std::move(done_);
    if (!done) return;
    if (file_) file_->drop();
    done(std::move(result));
  }

  ClientPtr client_;
  Ask ask_;
  std::string path_;
  std::uint64_t expected_;
  Told told_;
  Done done_;
  std::shared_ptr<core::NewFile> file_;
  ImageArchive archive_;
  std::string waiting_;
  std::uint64_t bytes_ = 0;
  bool writing_ = false, received_ = false, committing_ = false, stopped_ = false;
  std::optional<core::Error> error_, broken_;
  std::unique_ptr<Create> create_;
  std::unique_ptr<Write> write_;
  std::unique_ptr<Answer> answer_;
};

struct Loaded {
  std::vector<std::string> names;  // as the engine told
  std::uint64_t bytes = 0;
  std::shared_ptr<ImageArchive> archive;
};

/// A file on its way into the engine.
class Load final : public core::Operation<Loaded> {
 public:
  Load(ClientPtr client, std::string path, Told told)
      : client_(std::move(client)), path_(std::move(path)), told_(std::move(told)) {
    loaded_.archive = std::make_shared<ImageArchive>();
  }
  ~Load() override {
    if (upload_) upload_->on_room = nullptr;
  }

  void start(Done done) override {
    done_ = std::move(done);
    open_ = std::make_unique<Open>(client_->http().loop(), [path = path_] { return core::FileReader::open(path); });
    open_->start([this](core::Result<std::shared_ptr<core::FileReader>> file) {
      if (!file) return std::exchange(done_, nullptr)(std::move(file).error());
      file_ = std::move(*file);
      if (file_->size() == 0) return std::exchange(done_, nullptr)(refusal(std::nullopt));
      send();
    });
  }

  void cancel() noexcept override {
    if (load_) return load_->cancel();
    if (open_) open_->cancel();
  }

 private:
  using Open = core::PoolJob<std::shared_ptr<core::FileReader>>;
  using Names = std::vector<std::string>;

  void send() {
    upload_ = std::make_shared<http::Upload>(file_->size());
    upload_->on_room = [this] { read(); };
    load_ = load_images(client_, upload_);
    load_->start([this](core::Result<Names> names) {
      upload_->on_room = nullptr;
      auto done = std::exchange(done_, nullptr);  // it may destroy this
      if (!names) return done(std::move(names).error());
      loaded_.names = std::move(*names);
      done(std::move(loaded_));
    });
    read();
  }

  void read() {
    if (reading_ || ended_ || !done_ || upload_->full()) return;
    reading_ = true;
    read_ = std::make_unique<core::PoolJob<std::string>>(client_->http().loop(),
                                                         [file = file_] { return file->read(kPiece); });
    read_->start([this](core::Result<std::string> piece) {
      reading_ = false;
      if (!done_) return;
      take(std::move(piece));
    });
  }

  void take(core::Result<std::string> piece) {
    ended_ = !piece || piece->empty();
    if (!piece) return upload_->fail(std::move(piece).error());
    if (piece->empty()) {
      if (!loaded_.archive->complete()) return refuse(std::nullopt);
      return upload_->finish();
    }
    if (auto fed = loaded_.archive->feed(*piece); !fed) return refuse(std::move(fed).error());
    loaded_.bytes += piece->size();
    upload_->write(std::move(*piece));
    if (told_) told_(progress_of(loaded_.bytes, file_->size(), "Loading"));
    read();
  }

  core::Error refusal(std::optional<core::Error> why) const {
    core::Error error{.kind = "docker.invalid",
                      .message = "load " + path_ + (why ? ": no archive of images" : ": the archive is cut off"),
                      .hint = "host.docker:save_images or `docker save` makes one",
                      .host = client_->host()};
    return why ? core::wrap(std::move(error), std::move(*why)) : error;
  }
  void refuse(std::optional<core::Error> why) {
    ended_ = true;
    upload_->fail(refusal(std::move(why)));
  }

  ClientPtr client_;
  std::string path_;
  Told told_;
  Done done_;
  Loaded loaded_;
  std::shared_ptr<core::FileReader> file_;
  std::shared_ptr<http::Upload> upload_;
  bool reading_ = false, ended_ = false;
  std::unique_ptr<Open> open_;
  std::unique_ptr<core::PoolJob<std::string>> read_;
  Op<Names> load_;
};

struct SaveJob {
  ClientPtr client;
  std::vector<std::string> images;
  std::string path;
  Told told;
  ImageFile made;
  std::uint64_t expected = 0;
};

void write_archive(Steps& steps, const std::shared_ptr<SaveJob>& job) {
  Ask ask{.what = "save " + job->images.front(), .path = "/images/get"};
  if (job->images.size() > 1) ask.what += " and " + std::to_string(job->images.size() - 1) + " more";
  for (const std::string& image : job->images) ask.query.emplace_back("names", image);
  Op<std::uint64_t> save = std::make_unique<Save>(job->client, ask, job->path, job->expected, job->told);
  steps.then<std::uint64_t>(std::move(save), [&steps, job](std::uint64_t bytes) {
    job->made.bytes = bytes;
    steps.finish(std::move(job->made));
  });
}

/// One after the other, so that one that is missing shows before anything is written.
void look_at(Steps& steps, const std::shared_ptr<SaveJob>& job, std::size_t index) {
  if (index == job->images.size()) return write_archive(steps, job);
  const std::string& name = job->images[index];
  steps.then<Json>(inspect_image(job->client, name), [&steps, job, index, name](const Json& image) {
    job->made.images.push_back({name, text_at(image, "id")});
    if (const auto size = image.find("bytes"); size != image.end() && size->is_number_unsigned())
      job->expected += size->get<std::uint64_t>();
    look_at(steps, job, index + 1);
  });
}

struct LoadJob {
  ClientPtr client;
  std::string path;
  std::vector<std::pair<std::string, Json>> wanted;  // names, and their settings where the archive tells them
  ImageFile made;
};

core::Error differs(const LoadJob& job, const std::string& name) {
  return {.kind = "docker.ship",
          .message = "load " + job.path + ": what the engine has as " + name + " is not what the archive holds",
          .host = job.client->host()};
}

void check_loaded(Steps& steps, const std::shared_ptr<LoadJob>& job, std::size_t index) {
  if (index == job->wanted.size()) return steps.finish(std::move(job->made));
  const auto& [name, config] = job->wanted[index];
  steps.then<Json>(inspect_image(job->client, name), [&steps, job, index](const Json& image) {
    const auto& [known, settings] = job->wanted[index];
    if (!settings.is_null() && !is_image(image["raw"], settings)) return steps.finish(differs(*job, known));
    job->made.images.push_back({known, text_at(image, "id")});
    check_loaded(steps, job, index + 1);
  });
}

/// The archive's own names where it tells them; an image without a name is known by what the engine calls it.
void list_wanted(LoadJob& job, const Loaded& loaded) {
  const auto images = loaded.archive->images();
  for (const auto& image : images) {
    for (const std::string& name : image.names) job.wanted.emplace_back(name, image.config);
  }
  const bool nameless = std::any_of(images.begin(), images.end(), [](const auto& one) { return one.names.empty(); });
  for (const std::string& name : loaded.names) {
    const bool known =
        std::any_of(job.wanted.begin(), job.wanted.end(), [&](const auto& one) { return one.first == name; });
    const bool alone = nameless && images.size() == 1;
    if (!known && (nameless || images.empty())) job.wanted.emplace_back(name, alone ? images.front().config : Json());
  }
}

}  // namespace

Op<ImageFile> save_images(ClientPtr client, const std::vector<std::string>& images, const std::string& path,
                          std::function<void(const Progress&)> on_progress) {
  if (images.empty()) throw core::Failure(core::usage("save images: no image is named"));
  for (const std::string& image : images) (void)image_part(image);  // throws
  auto job = std::make_shared<SaveJob>();
  job->client = std::move(client);
  job->images = images;
  job->path = path;
  job->told = std::move(on_progress);
  return chain<ImageFile>([job](Steps& steps) { look_at(steps, job, 0); });
}

Op<ImageFile> load_image_file(ClientPtr client, const std::string& path,
                              std::function<void(const Progress&)> on_progress) {
  auto job = std::make_shared<LoadJob>();
  job->client = std::move(client);
  job->path = path;
  return chain<ImageFile>([job, told = std::move(on_progress)](Steps& steps) {
    steps.then<core::Unit>(settle(job->client), [&steps, job, told](core::Unit) {
      Op<Loaded> load = std::make_unique<Load>(job->client, job->path, told);
      steps.then<Loaded>(std::move(load), [&steps, job](const Loaded& loaded) {
        job->made.bytes = loaded.bytes;
        list_wanted(*job, loaded);
        check_loaded(steps, job, 0);
      });
    });
  });
}

}  // namespace deployrun::docker
