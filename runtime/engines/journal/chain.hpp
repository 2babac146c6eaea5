// Each row carries a hash over itself and the hash before it: a row that was edited, removed or put in shows.
#pragma once

#include <string>

#include "journal/record.hpp"

namespace deployrun::journal {

/// What stands before the first row.
std::string chain_start();

/// SHA-256 in lower-case hex over `previous` and every field of `row`, each with its length in front.
std::string chain_hash(const std::string& previous, const StoredRow& row);

}  // namespace deployrun::journal
