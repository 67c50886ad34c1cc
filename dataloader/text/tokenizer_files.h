// A tokenizer on disk: a directory that this project, transformers and tokenizers all read.
#ifndef BERT_DATALOADER_TEXT_TOKENIZER_FILES_H_
#define BERT_DATALOADER_TEXT_TOKENIZER_FILES_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dataloader/text/tokenizer.h"
#include "dataloader/text/wordpiece.h"

namespace bert::text {

// Name and content of each file: tokenizer.json, tokenizer_config.json and special_tokens_map.json, before them
// vocab.txt where the tokenizer is a WordPieceTokenizer. A pure function of the tokenizer.
std::vector<std::pair<std::string, std::string>> TokenizerFiles(const Tokenizer& tokenizer);

// Writes them into `directory`, which is made if need be; each file appears whole. Errors of common/files.h.
absl::Status WriteTokenizerFiles(const Tokenizer& tokenizer, const std::string& directory);

// Reads tokenizer.json; where there is none, vocab.txt with the options from tokenizer_config.json, a WordPiece
// tokenizer. NOT_FOUND names the missing file; INVALID_ARGUMENT the file and what is wrong with it.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& directory);
// As above, for what only this kind does. INVALID_ARGUMENT: it is another, or has options that are not BERT's own.
absl::StatusOr<std::unique_ptr<WordPieceTokenizer>> LoadWordPieceTokenizer(const std::string& directory);

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_TOKENIZER_FILES_H_
