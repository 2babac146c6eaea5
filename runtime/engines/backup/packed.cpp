#include "backup/packed.hpp"

#include <zstd.h>

#include <memory>
#include <vector>

#include "backup/hash.hpp"
#include "core/file_pieces.hpp"

namespace deployrun::backup {

namespace {

struct FreeStream {
  void operator()(ZSTD_CCtx* context) const noexcept { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const noexcept { ZSTD_freeDCtx(context); }
};

constexpr std::size_t kPiece = 256U << 10U;

core::Error corrupt(const std::string& path, const std::string& why) {
  return {.kind = "backup.corrupt",
          .message = path + ": " + why,
          .hint = "take another backup; this one is damaged, or was cut off"};
}

core::Error stopped(const std::string& path) { return core::cancelled(path + ": cancelled"); }

}  // namespace

std::string sha256_of(std::string_view bytes) {
  Hash hash;
  hash.add(bytes);
  return hash.finish();
}

core::Result<Packed> pack(const std::string& from, const std::string& to, int level, unsigned mode, const Stop& stop) {
  auto reader = core::FileReader::open(from);
  if (!reader) return std::move(reader).error();
  auto file = core::NewFile::create(to);
  if (!file) return std::move(file).error();
  const std::unique_ptr<ZSTD_CCtx, FreeStream> context(ZSTD_createCCtx());
  if (!context) throw std::bad_alloc();
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  ZSTD_CCtx_setPledgedSrcSize(context.get(), (*reader)->size());

  Packed packed;
  Hash hash;
  std::vector<char> out(ZSTD_CStreamOutSize());
  for (bool last = false; !last;) {
    if (stop) return stopped(from);
    auto piece = (*reader)->read(kPiece);
    if (!piece) return std::move(piece).error();
    packed.contents += static_cast<std::int64_t>(piece->size());
    last = piece->empty();
    ZSTD_inBuffer input{piece->data(), piece->size(), 0};
    for (bool more = true; more;) {
      ZSTD_outBuffer output{out.data(), out.size(), 0};
      const std::size_t left =
          ZSTD_compressStream2(context.get(), &output, &input, last ? ZSTD_e_end : ZSTD_e_continue);
      if (ZSTD_isError(left) != 0) {
        return core::Error{.kind = "internal", .message = from + ": " + ZSTD_getErrorName(left)};
      }
      const std::string_view bytes(out.data(), output.pos);
      hash.add(bytes);
      packed.bytes += static_cast<std::int64_t>(bytes.size());
      if (auto written = (*file)->write(bytes); !written) return std::move(written).error();
      more = last ? left != 0 : input.pos < input.size;
    }
  }
  packed.sha256 = hash.finish();
  if (auto committed = (*file)->commit(static_cast<mode_t>(mode)); !committed) return std::move(committed).error();
  return packed;
}

core::Result<Packed> unpack(const std::string& from, const std::string& to, const std::string& sha256,
                            const Stop& stop) {
  auto reader = core::FileReader::open(from);
  if (!reader) return std::move(reader).error();
  auto file = core::NewFile::create(to);
  if (!file) return std::move(file).error();
  const std::unique_ptr<ZSTD_DCtx, FreeStream> context(ZSTD_createDCtx());
  if (!context) throw std::bad_alloc();

  Packed packed;
  Hash hash;
  std::vector<char> out(ZSTD_DStreamOutSize());
  std::size_t left = 1;  // 0: the frame is complete
  for (;;) {
    if (stop) return stopped(from);
    auto piece = (*reader)->read(kPiece);
    if (!piece) return std::move(piece).error();
    if (piece->empty()) break;
    if (left == 0) return corrupt(from, "there is more than one frame");
    hash.add(*piece);
    packed.bytes += static_cast<std::int64_t>(piece->size());
    ZSTD_inBuffer input{piece->data(), piece->size(), 0};
    for (bool more = true; more;) {
      ZSTD_outBuffer output{out.data(), out.size(), 0};
      left = ZSTD_decompressStream(context.get(), &output, &input);
      if (ZSTD_isError(left) != 0) return corrupt(from, ZSTD_getErrorName(left));
      packed.contents += static_cast<std::int64_t>(output.pos);
      if (auto written = (*file)->write({out.data(), output.pos}); !written) return std::move(written).error();
      if (left == 0 && input.pos < input.size) return corrupt(from, "there is more than one frame");
      more = left != 0 && (input.pos < input.size || output.pos == output.size);
    }
  }
  if (left != 0) return corrupt(from, "its end is missing");
  packed.sha256 = hash.finish();
  if (!sha256.empty() && packed.sha256 != sha256) return corrupt(from, "its SHA-256 is not the one in its name");
  if (auto committed = (*file)->commit(0600); !committed) return std::move(committed).error();
  return packed;
}

}  // namespace deployrun::backup
