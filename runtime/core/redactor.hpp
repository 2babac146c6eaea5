// Keeps secrets out of every sink: all text for terminal, log, journal, events and errors passes through here.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/locked_bytes.hpp"
#include "core/secret.hpp"

namespace deployrun::core {

/// Knows the registered secrets in the forms in which programs print them: raw, trimmed, each line, base64 (three
/// alignments, both alphabets, wrapped lines), hex, percent-encoded, JSON-, YAML- and shell-escaped. Used on the loop's
/// thread only.
class Redactor {
 public:
  /// Shorter values would mask half of every log; the caller warns.
  static constexpr std::size_t kShortest = 6;

  Redactor() = default;
  Redactor(const Redactor&) = delete;
  Redactor& operator=(const Redactor&) = delete;

  /// False when nothing of the value is masked because it is shorter than kShortest. Registering twice changes nothing.
  bool add(const Secret& secret);
  bool empty() const noexcept { return patterns_.empty(); }

  /// Every form of every secret replaced by [secret:NAME]; overlapping ones become one mask.
  std::string redact(std::string_view text) const;

  /// Every masked form. The caller must not keep them.
  std::vector<std::string_view> forms() const;
  /// Hears of each form when it becomes known, for runners that mask by themselves (`::add-mask::`).
  void on_form(std::function<void(std::string_view)> heard) { heard_ = std::move(heard); }

  /// Text that arrives in pieces: a secret that is split across them is still found. Holds back only what may be the
  /// beginning of a secret. The redactor must outlive it.
  class Stream {
   public:
    explicit Stream(const Redactor& redactor) : redactor_(redactor) {}
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream();
    std::string feed(std::string_view piece);
    /// What was held back, masked. The stream is then as new.
    std::string finish();

   private:
    const Redactor& redactor_;
    std::string put_out(std::string_view piece, bool all);

    std::string held_;
    std::size_t masked_ = 0;  // so many bytes at the start of held_ belong to a mask already put out
  };

 private:
  struct Pattern {
    Pattern(std::string_view form, std::size_t index) : bytes(form), name(index) {}
    LockedBytes bytes;
    std::size_t name;  // index into names_
  };
  struct Range {
    std::size_t begin, end, name;
  };

  void add_pattern(std::string_view bytes, std::size_t name);
  /// The places to mask, merged, in order. Bytes before `masked` count as masked.
  std::vector<Range> find(std::string_view text, std::size_t masked) const;
  /// Where the text's end may be the beginning of a longer pattern; text.size() when it is not.
  std::size_t open_end(std::string_view text) const;
  bool begins(std::string_view text) const;

  std::vector<std::string> names_;
  std::deque<Pattern> patterns_;                                          // stays where it is: known_ looks into it
  std::unordered_map<std::string_view, std::size_t> known_;               // pattern → its index, against duplicates
  std::unordered_map<std::uint32_t, std::vector<std::size_t>> by_start_;  // first 4 bytes → patterns, longest first
  std::vector<std::uint64_t> pairs_;  // bitmap: some pattern starts with these 2 bytes
  std::size_t longest_ = 0;
  std::function<void(std::string_view)> heard_;
};

}  // namespace deployrun::core
