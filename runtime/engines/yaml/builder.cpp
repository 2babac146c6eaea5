#include "yaml/builder.hpp"

#include <algorithm>

#include "core/text.hpp"

namespace deployrun::yaml {

namespace {

[[noreturn]] void stop(const char* kind, std::string why, const YAML::Mark& mark) {
  throw Stopped{{.kind = kind, .message = std::move(why)}, mark};
}

std::size_t line_of(const YAML::Mark& mark) { return static_cast<std::size_t>(mark.line) + 1; }
std::size_t column_of(const YAML::Mark& mark) { return static_cast<std::size_t>(mark.column) + 1; }

std::string shown(const std::string& text) { return "'" + core::clean(text.substr(0, 80)) + "'"; }

/// "?" is yaml-cpp's word for untagged plain, "!" for untagged quoted. Only the types of the core schema may be named:
/// a tag that asks for an object of some language is never obeyed, and never ignored.
std::string known_tag(const std::string& tag, Kind kind, const YAML::Mark& mark) {
  if (tag.empty() || tag == "?" || tag == "!") return {};
  constexpr std::string_view kCore = "tag:yaml.org,2002:";
  if (tag.starts_with(kCore)) {
    const std::string name = tag.substr(kCore.size());
    if (kind == Kind::sequence ? name == "seq" : kind == Kind::mapping && name == "map") return {};
    if (kind == Kind::scalar) {
      for (const char* type : {"str", "int", "float", "bool", "null"}) {
        if (name == type) return name;
      }
    }
  }
  stop("yaml.parse", "tag " + shown(tag) + " is not supported", mark);
}

void measure(const Node& node, std::size_t depth, std::size_t& nodes, std::size_t& bytes, std::size_t& deepest) {
  ++nodes;
  bytes += node.scalar.size();
  if (node.kind == Kind::sequence || node.kind == Kind::mapping) ++depth;
  deepest = std::max(deepest, depth);
  for (const Node& item : node.items) measure(item, depth, nodes, bytes, deepest);
  for (const Member& member : node.members) {
    ++nodes;
    bytes += member.key.size();
    measure(member.value, depth, nodes, bytes, deepest);
  }
}

}  // namespace

void Builder::count(std::size_t nodes, std::size_t bytes, const YAML::Mark& mark) {
  nodes_ += nodes;
  bytes_ += bytes;
  if (nodes_ > limits_.nodes) {
    stop("yaml.limit", "more than " + std::to_string(limits_.nodes) + " values (aliases expanded)", mark);
  }
  if (bytes_ > limits_.scalar_bytes) {
    stop("yaml.limit", "more than " + std::to_string(limits_.scalar_bytes) + " bytes of text (aliases expanded)", mark);
  }
}

void Builder::check_depth(std::size_t depth, const YAML::Mark& mark) const {
  if (depth > limits_.depth) stop("yaml.limit", "nested deeper than " + std::to_string(limits_.depth), mark);
}

void Builder::OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) {
  count(1, 0, mark);
  Node node;
  node.line = line_of(mark);
  node.column = column_of(mark);
  put(std::move(node), mark, anchor);
}

void Builder::OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       const std::string& value) {
  count(1, value.size(), mark);
  Node node;
  node.kind = Kind::scalar;
  node.scalar = value;
  node.plain = tag == "?";
  node.tag = known_tag(tag, Kind::scalar, mark);
  node.line = line_of(mark);
  node.column = column_of(mark);
  put(std::move(node), mark, anchor);
}

void Builder::OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) {
  for (const Frame& frame : open_) {
    if (frame.anchor == anchor) stop("yaml.parse", "the alias stands inside the value it refers to", mark);
  }
  const auto found = anchors_.find(anchor);
  if (found == anchors_.end()) stop("yaml.parse", "the alias refers to no anchor before it", mark);
  // Counted before it is copied: that is what defuses a bomb.
  count(found->second.nodes, found->second.bytes, mark);
  check_depth(open_.size() + found->second.depth, mark);
  put(found->second.node, mark, 0);
}

void Builder::OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                              YAML::EmitterStyle::value) {
  open(Kind::sequence, mark, tag, anchor);
}

void Builder::OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                         YAML::EmitterStyle::value) {
  open(Kind::mapping, mark, tag, anchor);
}

void Builder::open(Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
  count(1, 0, mark);
  check_depth(open_.size() + 1, mark);
  known_tag(tag, kind, mark);
  Frame frame;
  frame.node.kind = kind;
  frame.node.line = line_of(mark);
  frame.node.column = column_of(mark);
  frame.anchor = anchor;
  frame.mark = mark;
  open_.push_back(std::move(frame));
}

void Builder::OnMapEnd() {
  merge(open_.back());
  close();
}

void Builder::close() {
  Frame frame = std::move(open_.back());
  open_.pop_back();
  put(std::move(frame.node), frame.mark, frame.anchor);
}

void Builder::put(Node node, const YAML::Mark& mark, YAML::anchor_t anchor) {
  if (anchor != 0) {
    Anchor kept;
    measure(node, 0, kept.nodes, kept.bytes, kept.depth);
    // The kept copy is memory as well: nested anchors would otherwise multiply it by the depth, unseen by the limits.
    count(0, kept.bytes, mark);
    kept.node = node;
    anchors_[anchor] = std::move(kept);
  }
  if (open_.empty()) {
    root_ = std::move(node);
    return;
  }
  Frame& frame = open_.back();
  if (frame.node.kind == Kind::sequence) {
    frame.node.items.push_back(std::move(node));
  } else if (!frame.has_key) {
    put_key(std::move(node), mark);
  } else {
    frame.has_key = false;
    if (frame.member.key == "<<" && frame.member.plain) {
      if (merge_ == Merge::in_order) {
        merge_now(frame, std::move(node), mark);
      } else {
        frame.merges.push_back(std::move(node));
      }
      return;
    }
    frame.member.value = std::move(node);
    if (merge_ == Merge::in_order) {
      set_member(frame, std::move(frame.member));
    } else {
      frame.node.members.push_back(std::move(frame.member));
    }
  }
}

void Builder::put_key(Node key, const YAML::Mark& mark) {
  if (key.kind != Kind::scalar) stop("yaml.parse", "a key must be text", mark);
  Frame& frame = open_.back();
  const auto [first, fresh] = frame.lines.emplace(key.scalar, line_of(mark));
  if (!fresh) {
    Stopped stopped{{.kind = "yaml.duplicate"}, mark};
    stopped.error.message = "key " + shown(key.scalar) + " stands here and in line " + std::to_string(first->second);
    stopped.error.details["first_line"] = static_cast<std::int64_t>(first->second);
    throw stopped;
  }
  frame.has_key = true;
  frame.member = Member{key.scalar, key.plain, line_of(mark), column_of(mark), {}};
}

std::vector<Node> Builder::mappings(Node source, const YAML::Mark& mark) {
  std::vector<Node> all;
  if (source.kind == Kind::sequence) {
    all = std::move(source.items);
  } else {
    all.push_back(std::move(source));
  }
  for (const Node& mapping : all) {
    if (mapping.kind != Kind::mapping) stop("yaml.parse", "'<<' merges mappings only", mark);
  }
  return all;
}

void Builder::set_member(Frame& frame, Member member) {
  const auto [found, fresh] = frame.positions.emplace(member.key, frame.node.members.size());
  if (fresh) {
    frame.node.members.push_back(std::move(member));
  } else {
    frame.node.members[found->second] = std::move(member);
  }
}

void Builder::merge_now(Frame& frame, Node source, const YAML::Mark& mark) {
  std::vector<Node> all = mappings(std::move(source), mark);
  // Of several the first one counts; so it comes last.
  for (auto mapping = all.rbegin(); mapping != all.rend(); ++mapping) {
    for (Member& member : mapping->members) set_member(frame, std::move(member));
  }
}

/// `<<: *defaults` (YAML 1.1's merge key, which Compose files use): own keys win, earlier mappings before later ones.
void Builder::merge(Frame& frame) {
  for (Node& source : frame.merges) {
    for (Node& mapping : mappings(std::move(source), frame.mark)) {
      for (Member& member : mapping.members) {
        if (!frame.lines.emplace(member.key, member.line).second) continue;
        frame.node.members.push_back(std::move(member));
      }
    }
  }
}

}  // namespace deployrun::yaml
