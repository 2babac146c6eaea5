// YAML files that people write: one document with line and column at every value, read under limits. yaml-cpp by itself
// takes bombs, cycles and duplicate keys in silence (SAFETY: 280 bytes that walk as a million nodes).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"
#include "json/json.hpp"

namespace deployrun::yaml {

struct Limits {
  std::size_t bytes = 1U << 20U;         ///< of the text
  std::size_t depth = 64;                ///< after aliases are expanded, like the rest
  std::size_t nodes = 100'000;           ///< values and keys
  std::size_t scalar_bytes = 4U << 20U;  ///< all scalars together
};

enum class Kind { null, scalar, sequence, mapping };

struct Member;

/// What a merge key (`<<`) does to keys that stand before it in the same mapping: nothing, or what Ruby's Psych does,
/// for which a mapping is read from top to bottom and the later one wins.
enum class Merge { own_keys_win, in_order };

/// A value; aliases are expanded and merge keys (`<<`) applied. A value that came through an alias has the place of its
/// anchor.
struct Node {
  Kind kind = Kind::null;
  std::string scalar;    ///< the text as it means after unquoting
  bool plain = false;    ///< unquoted and untagged: its type follows from its text
  std::string tag;       ///< `!!int` and the like as "int"; empty when none was written
  std::size_t line = 0;  ///< from 1
  std::size_t column = 0;
  std::vector<Node> items;
  std::vector<Member> members;  ///< in the order of the file

  /// The member with that key; nullptr when there is none or this is no mapping.
  const Node* find(std::string_view key) const;
};

struct Member {
  std::string key;
  bool plain = false;  ///< the key is unquoted
  std::size_t line = 0;
  std::size_t column = 0;
  Node value;
};

struct Document {
  std::string source;  ///< the file's name, for messages
  Node root;

  /// "config.yml:3:5"
  std::string place(const Node& node) const;
};

/// One document. Kinds: `yaml.parse`, `yaml.limit`, `yaml.duplicate`, each with details `source`, `line`, `column`
/// (both from 1, in characters) and a message that opens with `source:line:column: `; a duplicate names both lines
/// (`first_line`).
core::Result<Document> parse(std::string_view text, std::string_view source, const Limits& limits = {},
                             Merge merge = Merge::own_keys_win);

/// By the core schema of YAML 1.2: null, booleans, integers (decimal, 0o, 0x), floats; everything else is text. `yes`,
/// `on` and `1:30` are text. Integers beyond 64 bits become floats.
json::Json to_json(const Node& node);

}  // namespace deployrun::yaml
