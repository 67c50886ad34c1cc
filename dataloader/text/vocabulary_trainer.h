// Learns a vocabulary from text.
#ifndef BERT_DATALOADER_TEXT_VOCABULARY_TRAINER_H_
#define BERT_DATALOADER_TEXT_VOCABULARY_TRAINER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "dataloader/text/normalizer.h"
#include "dataloader/text/pair_table.h"
#include "dataloader/text/word_counter.h"

namespace bert::text {

enum class VocabularyKind {
  // Characters inside a word are "##x"; the most frequent pair is merged: Hugging Face's WordPieceTrainer.
  kWordPiece,
  // The same tokens, but the pair is merged whose count is highest for how often its parts occur.
  kWordPieceByScore,
  // The last character of a word is "x</w>"; the most frequent pair is merged.
  kBpe,
  // Of bytes, in the pieces of byte_level.h; the most frequent pair is merged.
  kByteLevelBpe,
};

inline constexpr char kEndOfWordSuffix[] = "</w>";

struct VocabularyTrainerOptions {
  VocabularyKind kind = VocabularyKind::kWordPiece;
  // Special tokens included. Fewer come out when the text has no more pairs that occur `min_frequency` times.
  size_t vocab_size = 30522;
  uint64_t min_frequency = 2;
  // Characters kept, the most frequent first. WordPiece does not learn from words with any other, which its tokenizer
  // makes [UNK]; BPE learns from the parts between them. No limit on bytes.
  size_t alphabet_limit = 1000;
  // Not for bytes, which are taken as they are.
  NormalizerOptions normalizer = {};
  // The vocabulary does not depend on it.
  int threads = 1;
  // Told now and then how many tokens there are of vocab_size.
  std::function<void(size_t)> progress = {};
};

struct TrainedVocabulary {
  // By id: kSpecialTokens, then the alphabet by code point, then its forms inside or at the end of words that occur,
  // then what merges gave.
  std::vector<std::string> tokens;
  // In order: each is joined into one token wherever it stands when its turn comes.
  std::vector<TokenPair> merges;
};

// The most frequent pair of neighbouring tokens becomes a token, again and again (Sennrich et al. 2016). By frequency:
//
//   hug x10, pug x5, pun x12, bun x4, hugs x5:  b g h n p s u, ##g ##n ##s ##u, then
//   ##u+##g (20) ##ug, ##u+##n (16) ##un, h+##ug (15) hug, p+##un (12) pun, p+##ug (5) pug, hug+##s (5) hugs, bun (4)
//
// The result depends only on how often each word occurs, not on the order of the text or the number of threads: between
// equal pairs the one whose tokens are older (by id, left one first) wins. That is Hugging Face's rule too, so
// byte-level vocabularies are the same, merge for merge; where it numbers tokens in the order of a hash map, ties fall
// otherwise. Not thread-safe.
class VocabularyTrainer {
 public:
  explicit VocabularyTrainer(const VocabularyTrainerOptions& options);

  // Counts the words of one document.
  void AddText(std::string text);

  // Once, after the last text. INVALID_ARGUMENT: no words at all, or vocab_size does not hold the special tokens and
  // the alphabet.
  absl::StatusOr<TrainedVocabulary> Train();

  // After Train: how many there were, every occurrence counted, and different ones; for WordPiece without those that
  // are too long for its tokenizer.
  uint64_t words() const { return counter_.words(); }
  size_t distinct_words() const { return distinct_words_; }

 private:
  const VocabularyTrainerOptions options_;
  WordCounter counter_;
  size_t distinct_words_ = 0;
};

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_VOCABULARY_TRAINER_H_
