// A tokenizer on disk: a directory that this project, transformers and tokenizers all read.
#ifndef BERT_DATALOADER_TEXT_TOKENIZER_FILES_H_
#define BERT_DATALOADER_TEXT_TOKENIZER_FILES_H_

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dataloader/text/wordpiece.h"

namespace bert::text {

inline constexpr std::array<std::string_view, 4> kTokenizerFileNames = {
    "vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"};

// Name and content of each of kTokenizerFileNames, in that order. A pure function of vocabulary and options.
std::vector<std::pair<std::string, std::string>> TokenizerFiles(const WordPieceTokenizer& tokenizer);

// Writes them into `directory`, which is made if need be; each file appears whole. Errors of common/files.h.
absl::Status WriteTokenizerFiles(const WordPieceTokenizer& tokenizer, const std::string& directory);

// Reads vocab.txt, and the options from tokenizer_config.json. NOT_FOUND names the missing file; INVALID_ARGUMENT the
// file and what is wrong with it.
absl::StatusOr<WordPieceTokenizer> LoadTokenizer(const std::string& directory);

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_TOKENIZER_FILES_H_
