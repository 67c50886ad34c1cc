#include "dataloader/documents/paragraphs.h"

#include <cstddef>

namespace bert::documents {
namespace {

constexpr char kWhitespace[] = " \t\r\n\v\f";

}  // namespace

std::string_view StripTrailingWhitespace(std::string_view line) {
  const size_t last = line.find_last_not_of(kWhitespace);
  return line.substr(0, last == std::string_view::npos ? 0 : last + 1);
}

void AppendParagraphs(std::string_view text, std::string* document) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view paragraph = StripTrailingWhitespace(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (paragraph.empty()) continue;
    if (!document->empty()) document->push_back('\n');
    document->append(paragraph);
  }
}

}  // namespace bert::documents
