// A journal's rows as somebody may have changed them: one "type body" a line.
#include "core/text.hpp"
#include "fuzz.hpp"
#include "journal/record.hpp"

namespace deployrun::fuzz {

void try_input(std::string_view bytes) {
  journal::Record record;
  std::int64_t number = 0;
  for (const std::string_view line : core::lines(bytes)) {
    const std::size_t space = std::min(line.find(' '), line.size());
    const journal::StoredRow row{.number = ++number,
                                 .time = 1000 * number,
                                 .run = "run-1",
                                 .type = std::string(line.substr(0, space)),
                                 .body = std::string(line.substr(std::min(space + 1, line.size())))};
    if (const auto applied = journal::apply(record, row); !applied) check(applied.error().kind == "journal.corrupt");
  }
  (void)json::dump(journal::to_json(record));
}

}  // namespace deployrun::fuzz
