// Which tokens the model has to guess.
#ifndef BERT_DATALOADER_SAMPLING_MASKING_H_
#define BERT_DATALOADER_SAMPLING_MASKING_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "dataloader/corpus/dataset.h"
#include "dataloader/sampling/philox.h"

namespace bert::sampling {

struct Masking {
  // Share of a row's tokens ([CLS] and [SEP] not counted) to predict.
  double probability = 0.15;
  // Of those: share that becomes [MASK], share that becomes a random token; the rest stays.
  double mask_share = 0.8;
  double random_share = 0.1;
  // Choose words with all their "##" pieces, else single tokens.
  bool whole_word = true;
  // Choose up to so many neighbouring words (or tokens) at once.
  int32_t ngram_max = 1;
  // Of a row, whatever its share; 0: no such limit.
  int32_t max_predictions_per_seq = 0;
};

inline constexpr int32_t kNgramMax = 16;

// [begin, end) of a row's tokens: a part of a document without the special tokens around it.
struct TextSpan {
  uint16_t begin = 0;
  uint16_t end = 0;
};

// INVALID_ARGUMENT names the field: shares outside [0, 1], mask_share + random_share over 1, ngram_max outside
// [1, kNgramMax], a negative max_predictions_per_seq.
absl::Status ValidateMasking(const Masking& masking);

// Masks rows as Devlin et al. 2018 and its released code (create_masked_lm_predictions, whole-word form): the row's
// words are shuffled and taken in turn while they fit into max(1, round(probability * tokens)) tokens, at most
// max_predictions_per_seq; one that would exceed this is passed over. Each chosen token by itself becomes [MASK], a
// random token, or stays. Random tokens are uniform over the vocabulary without the five special ones. With probability
// 0 nothing is masked.
//
// With ngram_max over 1 as Lan et al. 2020 (ALBERT) and its released code: each word in turn begins an n-gram, of n
// words with probability proportional to 1/n among those that its text still has; where it would exceed the budget, the
// longest shorter one that does not; one that has a chosen word in it is passed over.
//
// A word is a piece and those behind it that continue it ("##ing"; see VocabularyFacts for other kinds); a part of a
// document that begins inside a word begins one. BERT's tokenizer makes each CJK character a word of its own.
// The outcome depends on (seed, epoch, row) and the row's tokens only. Not thread-safe: keeps scratch buffers.
class Masker {
 public:
  // `vocabulary` outlives the Masker; `masking` is valid.
  Masker(const corpus::VocabularyFacts& vocabulary, const Masking& masking, uint64_t seed);

  // Masks a row in place. `token_ids` are in the vocabulary, at most 65,535; `texts` lie in them, ascending, with at
  // least a token between two. Appends the masked positions, ascending, the original tokens there, and returns how
  // many.
  int MaskRow(uint64_t epoch, int64_t row, absl::Span<int32_t> token_ids, absl::Span<const TextSpan> texts,
              std::vector<uint16_t>* positions, std::vector<int32_t>* labels);

 private:
  struct Word {
    uint16_t begin;
    uint16_t length;
  };

  // Fills words_; returns how many tokens they have.
  int FindWords(absl::Span<const int32_t> token_ids, absl::Span<const TextSpan> texts);
  // Set the bits of the chosen positions in chosen_.
  void ChooseWords(int budget, PhiloxStream& random);
  void ChooseNgrams(int budget, PhiloxStream& random);
  // Words from `first` on that stand in one text, at most ngram_max.
  int WordsInText(size_t first) const;
  bool AnyChosen(int begin, int end) const;
  void Choose(int begin, int end);
  int32_t Replacement(int32_t original, PhiloxStream& random) const;

  const corpus::VocabularyFacts& vocabulary_;
  const Masking masking_;
  const uint64_t seed_;
  // A number below the first means [MASK], one below the second a random token; of 2^32.
  const uint64_t mask_below_;
  const uint64_t random_below_;
  std::array<int32_t, 5> special_ids_;  // Ascending.
  // [m - 1][n - 1]: of 2^32 numbers, how many mean an n-gram of at most n words where m are there.
  std::array<std::array<uint64_t, kNgramMax>, kNgramMax> ngram_below_{};
  std::vector<Word> words_;
  size_t word_count_ = 0;
  std::vector<uint16_t> order_;  // N-grams only: words as they come.
  std::vector<uint64_t> chosen_;
};

}  // namespace bert::sampling

#endif  // BERT_DATALOADER_SAMPLING_MASKING_H_
