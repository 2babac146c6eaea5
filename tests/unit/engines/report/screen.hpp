// A terminal's screen without end: enough of one to see what the board leaves on it. Lines break at its width and break
// anew when that changes, as terminals do.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/text.hpp"

namespace deployrun::test {

class Screen {
 public:
  explicit Screen(std::size_t columns) : columns_(columns) {}

  void write(std::string_view bytes) {
    while (!bytes.empty()) {
      if (bytes[0] == '\x1b') {
        bytes.remove_prefix(sequence(bytes));
        continue;
      }
      char32_t point = 0;
      const int length = core::utf8_sequence(bytes, point);
      REQUIRE(length > 0);
      put(bytes.substr(0, static_cast<std::size_t>(length)));
      bytes.remove_prefix(static_cast<std::size_t>(length));
    }
  }

  /// All lines down to the cursor's, without empty ones at the end.
  std::vector<std::string> lines() const {
    std::vector<std::string> result;
    for (const Row& row : rows_) {
      std::string line;
      for (const std::string& cell : row.cells) line += cell;
      result.push_back(line.substr(0, line.find_last_not_of(' ') + 1));
    }
    while (!result.empty() && result.back().empty()) result.pop_back();
    return result;
  }

  void resize(std::size_t columns) {
    REQUIRE(column_ == 0);
    std::vector<Row> old = std::move(rows_);
    rows_.clear();
    for (std::size_t i = 0; i < old.size(); ++i) {
      std::vector<std::string> whole = std::move(old[i].cells);
      while (old[i].continues && i + 1 < old.size()) {
        ++i;
        whole.insert(whole.end(), old[i].cells.begin(), old[i].cells.end());
      }
      while (whole.size() > columns) {
        rows_.push_back({{whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(columns)}, true});
        whole.erase(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(columns));
      }
      rows_.push_back({whole, false});
    }
    columns_ = columns;
    row_ = rows_.size() - 1;
  }

 private:
  struct Row {
    std::vector<std::string> cells;
    bool continues = false;
  };

  Row& row() {
    while (rows_.size() <= row_) rows_.emplace_back();
    return rows_[row_];
  }

  void put(std::string_view character) {
    if (character == "\n") {
      row();
      ++row_;
      column_ = 0;
      row();
      return;
    }
    if (character == "\r") {
      column_ = 0;
      return;
    }
    if (column_ == columns_) {
      row().continues = true;
      ++row_;
      column_ = 0;
    }
    auto& cells = row().cells;
    if (cells.size() <= column_) cells.resize(column_ + 1, " ");
    cells[column_++] = std::string(character);
  }

  std::size_t sequence(std::string_view bytes) {
    REQUIRE(bytes.size() > 2);
    REQUIRE(bytes[1] == '[');
    std::size_t at = 2;
    std::size_t number = 0;
    for (; at < bytes.size() && bytes[at] >= '0' && bytes[at] <= '9'; ++at)
      number = number * 10 + static_cast<std::size_t>(bytes[at] - '0');
    REQUIRE(at < bytes.size());
    if (bytes[at] == 'A') {
      REQUIRE(row_ >= number);  // never above what we wrote
      row_ -= number;
    } else if (bytes[at] == 'J') {
      rows_.resize(row_);
      row();
    } else if (bytes[at] == 'K') {
      row().cells.resize(std::min(row().cells.size(), column_));
      row().continues = false;
    } else {
      FAIL("a sequence that the board should not write: " << std::string(bytes.substr(1, at)));
    }
    return at + 1;
  }

  std::size_t columns_;
  std::vector<Row> rows_{Row{}};
  std::size_t row_ = 0;
  std::size_t column_ = 0;
};

}  // namespace deployrun::test
