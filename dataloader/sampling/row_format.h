// The shapes that rows come in.
#ifndef BERT_DATALOADER_SAMPLING_ROW_FORMAT_H_
#define BERT_DATALOADER_SAMPLING_ROW_FORMAT_H_

#include <cstdint>

namespace bert::sampling {

// The values are those of bert.v1.RowFormat and stand in row index files.
enum class RowFormat : uint32_t {
  // Parts of documents, each [CLS] tokens [SEP] and a segment of its own, fill a row.
  kPacked = 1,
  // A row a document: [CLS], its first tokens, [SEP], and padding; what does not fit is left out.
  kTruncatePad = 2,
  // [CLS] A [SEP] B [SEP] with segment types 0 and 1; B follows A in its document or comes from another one.
  kSentencePair = 3,
};

// "packed", "truncate_pad", "sentence_pair".
constexpr const char* RowFormatName(RowFormat format) {
  switch (format) {
    case RowFormat::kPacked:
      return "packed";
    case RowFormat::kTruncatePad:
      return "truncate_pad";
    case RowFormat::kSentencePair:
      return "sentence_pair";
  }
  return "unknown";
}

}  // namespace bert::sampling

#endif  // BERT_DATALOADER_SAMPLING_ROW_FORMAT_H_
