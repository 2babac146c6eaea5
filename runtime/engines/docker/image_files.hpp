// Images into a file of this machine and out of it, as `docker save` and `docker load` write and read it: streamed,
// whatever their size.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "docker/images.hpp"

namespace deployrun::docker {

struct KeptImage {
  std::string name;  ///< as it was asked for or stands in the archive: a name with its tag, or an ID
  std::string id;
};

struct ImageFile {
  std::vector<KeptImage> images;
  std::uint64_t bytes = 0;
};

/// Writes `images` to `path`, 0600, in one moment: until all of it is there, nothing is. Fails with `docker.not_found`
/// before anything is written, `files.*`, `docker.protocol` for an archive that was cut off. `on_progress` is called
/// from inside the operation; its total is about what the engine says of the images.
Op<ImageFile> save_images(ClientPtr client, const std::vector<std::string>& images, const std::string& path,
                          std::function<void(const Progress&)> on_progress = {});

/// Makes the images of an archive known to the engine, and compares what it has then with what the archive holds:
/// `docker.ship` where that differs. Of a compressed archive, which the engine unpacks, only the names are checked.
Op<ImageFile> load_image_file(ClientPtr client, const std::string& path,
                              std::function<void(const Progress&)> on_progress = {});

}  // namespace deployrun::docker
