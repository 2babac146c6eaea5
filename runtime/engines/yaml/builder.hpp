// Builds the tree from the parser's events and stops at the first limit. For yaml/ alone.
#pragma once

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/mark.h>

#include <map>
#include <stdexcept>

#include "yaml/document.hpp"

namespace deployrun::yaml {

/// Leaves the parser in the middle of a document. `mark` is where.
struct Stopped {
  core::Error error;
  YAML::Mark mark;
};

class Builder final : public YAML::EventHandler {
 public:
  Builder(const Limits& limits, Merge merge) : limits_(limits), merge_(merge) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override;
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override;
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override;
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override;
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override;
  void OnMapEnd() override;

  Node take() { return std::move(root_); }

 private:
  /// A container that is being read.
  struct Frame {
    Node node;
    YAML::anchor_t anchor = 0;
    YAML::Mark mark;
    bool has_key = false;  // of a mapping: the next value belongs to `member`
    Member member;
    std::map<std::string, std::size_t, std::less<>> lines;      // key → line, for duplicates
    std::vector<Node> merges;                                   // what stood behind `<<`
    std::map<std::string, std::size_t, std::less<>> positions;  // key → member, where mappings merge in order
  };
  /// A finished anchor, with what an alias to it costs.
  struct Anchor {
    Node node;
    std::size_t nodes = 0;
    std::size_t bytes = 0;
    std::size_t depth = 0;
  };

  void open(Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor);
  void close();
  /// A finished value finds its place: as a key, a member, an item or the root.
  void put(Node node, const YAML::Mark& mark, YAML::anchor_t anchor);
  void put_key(Node key, const YAML::Mark& mark);
  void merge(Frame& frame);
  /// The mappings that stand behind a `<<`, in the file's order.
  static std::vector<Node> mappings(Node source, const YAML::Mark& mark);
  /// Puts one behind `<<` in at once; what is there already is overwritten in its place, as Ruby's Hash does.
  void merge_now(Frame& frame, Node source, const YAML::Mark& mark);
  static void set_member(Frame& frame, Member member);
  void count(std::size_t nodes, std::size_t bytes, const YAML::Mark& mark);
  void check_depth(std::size_t depth, const YAML::Mark& mark) const;

  const Limits& limits_;
  const Merge merge_;
  Node root_;
  std::vector<Frame> open_;
  std::map<YAML::anchor_t, Anchor> anchors_;
  std::size_t nodes_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace deployrun::yaml
