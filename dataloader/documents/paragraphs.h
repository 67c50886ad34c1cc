// The form in which a document's text is compared, hashed and tokenized.
#ifndef BERT_DATALOADER_DOCUMENTS_PARAGRAPHS_H_
#define BERT_DATALOADER_DOCUMENTS_PARAGRAPHS_H_

#include <string>
#include <string_view>

namespace bert::documents {

inline constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Without the ASCII white space at its end.
std::string_view StripTrailingWhitespace(std::string_view line);

// Appends the lines of `text` that are not blank, without white space at their ends, with '\n' before each that is not
// the document's first: the same text saved differently, or in another kind of file, is then the same document.
void AppendParagraphs(std::string_view text, std::string* document);

}  // namespace bert::documents

#endif  // BERT_DATALOADER_DOCUMENTS_PARAGRAPHS_H_
