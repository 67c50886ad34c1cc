// Writes a tokenizer.json, the format of Hugging Face's Tokenizer.from_file.
#ifndef BERT_DATALOADER_TEXT_TOKENIZER_JSON_WRITER_H_
#define BERT_DATALOADER_TEXT_TOKENIZER_JSON_WRITER_H_

#include <cstdint>
#include <string>

#include "dataloader/text/pipeline_tokenizer.h"
#include "dataloader/text/wordpiece.h"

namespace bert::text {

// What tokenizer_json_reader.h makes the same tokenizer of.
std::string FormatTokenizerJson(const TokenizerSpec& spec);

// A WordPieceTokenizer as the parts that it does in one go.
TokenizerSpec SpecOf(const WordPieceTokenizer& tokenizer);

// A post-processor: [CLS] A [SEP], or [CLS] A [SEP] B [SEP].
std::string TemplateProcessingJson(const std::string& cls, uint32_t cls_id, const std::string& sep, uint32_t sep_id);

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_TOKENIZER_JSON_WRITER_H_
