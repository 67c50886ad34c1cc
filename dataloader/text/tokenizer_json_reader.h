// Reads a tokenizer.json, the format of Hugging Face's Tokenizer.from_file.
#ifndef BERT_DATALOADER_TEXT_TOKENIZER_JSON_READER_H_
#define BERT_DATALOADER_TEXT_TOKENIZER_JSON_READER_H_

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "dataloader/text/pipeline_tokenizer.h"
#include "dataloader/text/tokenizer.h"

namespace bert::text {

// Models WordPiece and BPE; normalisers BertNormalizer, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip;
// pre-tokenizers BertPreTokenizer, Whitespace, WhitespaceSplit, ByteLevel; Sequences of these; decoders WordPiece,
// BPEDecoder, ByteLevel; post-processors that put [CLS] before and [SEP] behind a text, or none.
// INVALID_ARGUMENT names the field: one that is wrong, or whose value would make ids that we do not.
absl::StatusOr<std::unique_ptr<Tokenizer>> ParseTokenizerJson(std::string_view content);

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_TOKENIZER_JSON_READER_H_
