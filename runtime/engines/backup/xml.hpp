// The little of XML that S3 answers with: elements without attributes that matter. Pure; foreign bytes go in.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace deployrun::backup {

/// The contents of every <name>…</name> in `text`, in their order; what is nested in one of the same name is not looked
/// for.
std::vector<std::string_view> xml_elements(std::string_view text, std::string_view name);
/// The text of the first <name>, its entities resolved; empty where there is none.
std::string xml_text(std::string_view text, std::string_view name);
/// `text` as the content of an element.
std::string xml_escape(std::string_view text);

}  // namespace deployrun::backup
