// Learns a WordPiece vocabulary from text.
#ifndef BERT_DATALOADER_TEXT_VOCABULARY_TRAINER_H_
#define BERT_DATALOADER_TEXT_VOCABULARY_TRAINER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "dataloader/text/normalizer.h"
#include "dataloader/text/vocabulary.h"

namespace bert::text {

struct VocabularyTrainerOptions {
  // Special tokens included. Fewer come out when the text has no more pairs that occur `min_frequency` times.
  size_t vocab_size = 30522;
  uint64_t min_frequency = 2;
  // Characters kept, the most frequent first. Words with any other are not learned from: the tokenizer makes them
  // [UNK].
  size_t alphabet_limit = 1000;
  NormalizerOptions normalizer = {};
};

// Byte-pair merges by frequency, the criterion of Hugging Face's WordPieceTrainer: ids 0 to 4 are kSpecialTokens, then
// the alphabet by code point, then its "##" forms that occur, then merges, the most frequent pair first.
//
//   hug x10, pug x5, pun x12, bun x4, hugs x5:  b g h n p s u, ##g ##n ##s ##u, then
//   ##u+##g (20) ##ug, ##u+##n (16) ##un, h+##ug (15) hug, p+##un (12) pun, p+##ug (5) pug, hug+##s (5) hugs, bun (4)
//
// The result depends only on how often each word occurs, not on the order of the text: between pairs of equal frequency
// the one whose tokens are older (by id, left one first) wins. Not thread-safe.
class VocabularyTrainer {
 public:
  explicit VocabularyTrainer(const VocabularyTrainerOptions& options);

  // Counts the words of one piece of text.
  void AddText(std::string_view text);

  uint64_t words() const { return words_; }
  size_t distinct_words() const { return counts_.size(); }

  // INVALID_ARGUMENT: no words at all, or vocab_size does not hold the special tokens and the alphabet.
  absl::StatusOr<Vocabulary> Train() const;

 private:
  const VocabularyTrainerOptions options_;
  const BertNormalizer normalizer_;
  absl::flat_hash_map<std::string, uint64_t> counts_;
  uint64_t words_ = 0;
  std::string scratch_;
};

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_VOCABULARY_TRAINER_H_
