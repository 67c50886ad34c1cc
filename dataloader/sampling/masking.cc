#include "dataloader/sampling/masking.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"

namespace bert::sampling {
namespace {

constexpr double kTwoTo32 = 4294967296.0;

bool IsShare(double value) { return value >= 0 && value <= 1; }  // False for NaN.

}  // namespace

absl::Status ValidateMasking(const Masking& masking) {
  for (const auto& [name, value] : {std::pair<const char*, double>{"probability", masking.probability},
                                    {"mask_share", masking.mask_share},
                                    {"random_share", masking.random_share}}) {
    if (!IsShare(value))
      return absl::InvalidArgumentError(absl::StrCat("masking.", name, " ", value, " is not in [0, 1]"));
  }
  // Decimal fractions that add up to 1 may add up to a little more in binary.
  if (masking.mask_share + masking.random_share > 1 + 1e-9) {
    return absl::InvalidArgumentError(absl::StrCat("masking.mask_share ", masking.mask_share,
                                                   " and masking.random_share ", masking.random_share,
                                                   " add up to more than 1"));
  }
  if (masking.ngram_max < 1 || masking.ngram_max > kNgramMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("masking.ngram_max ", masking.ngram_max, " is not in [1, ", kNgramMax, "]"));
  }
  if (masking.max_predictions_per_seq < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("masking.max_predictions_per_seq ", masking.max_predictions_per_seq, " is negative"));
  }
  return absl::OkStatus();
}

Masker::Masker(const corpus::VocabularyFacts& vocabulary, const Masking& masking, uint64_t seed)
    : vocabulary_(vocabulary),
      masking_(masking),
      seed_(seed),
      mask_below_(static_cast<uint64_t>(std::llround(masking.mask_share * kTwoTo32))),
      random_below_(mask_below_ + static_cast<uint64_t>(std::llround(masking.random_share * kTwoTo32))),
      special_ids_{vocabulary.pad_id, vocabulary.unk_id, vocabulary.cls_id, vocabulary.sep_id, vocabulary.mask_id} {
  std::sort(special_ids_.begin(), special_ids_.end());
  for (int most = 1; most <= kNgramMax; ++most) {
    double total = 0;
    for (int n = 1; n <= most; ++n) total += 1.0 / n;
    double sum = 0;
    for (int n = 1; n <= most; ++n) {
      sum += 1.0 / n;
      ngram_below_[most - 1][n - 1] = static_cast<uint64_t>(std::llround(sum / total * kTwoTo32));
    }
  }
}

int Masker::MaskRow(uint64_t epoch, int64_t row, absl::Span<int32_t> token_ids, absl::Span<const TextSpan> texts,
                    std::vector<uint16_t>* positions, std::vector<int32_t>* labels) {
  const int tokens = FindWords(token_ids, texts);
  if (tokens == 0 || masking_.probability == 0) return 0;
  int budget = std::max(1, static_cast<int>(std::lround(masking_.probability * tokens)));
  if (masking_.max_predictions_per_seq > 0) budget = std::min(budget, masking_.max_predictions_per_seq);
  PhiloxStream random(seed_, epoch, static_cast<uint64_t>(row), PhiloxUse::kMasking);
  chosen_.assign((token_ids.size() + 63) / 64, 0);
  if (masking_.ngram_max > 1) {
    ChooseNgrams(budget, random);
  } else {
    ChooseWords(budget, random);
  }
  const size_t before = positions->size();
  for (size_t block = 0; block < chosen_.size(); ++block) {
    for (uint64_t bits = chosen_[block]; bits != 0; bits &= bits - 1) {
      const size_t position = block * 64 + static_cast<size_t>(std::countr_zero(bits));
      const int32_t original = token_ids[position];
      positions->push_back(static_cast<uint16_t>(position));
      labels->push_back(original);
      token_ids[position] = Replacement(original, random);
    }
  }
  return static_cast<int>(positions->size() - before);
}

int Masker::FindWords(absl::Span<const int32_t> token_ids, absl::Span<const TextSpan> texts) {
  if (words_.size() < token_ids.size()) words_.resize(token_ids.size());
  const uint8_t* is_continuation = vocabulary_.is_continuation.data();
  const bool words_end = !vocabulary_.ends_word.empty();
  size_t count = 0;
  int tokens = 0;
  for (const TextSpan text : texts) {
    const size_t begin = text.begin;
    const size_t end = text.end;
    const size_t first_word = count;
    for (size_t position = begin; position < end; ++position) {
      // Without a branch: a continuation leaves the slot to be overwritten by the next word.
      words_[count].begin = static_cast<uint16_t>(position);
      const bool inside_word = masking_.whole_word && is_continuation[token_ids[position]] != 0 && position != begin &&
                               !(words_end && vocabulary_.ends_word[token_ids[position - 1]] != 0);
      count += inside_word ? 0 : 1;
    }
    for (size_t word = first_word; word < count; ++word) {
      const size_t word_end = word + 1 < count ? words_[word + 1].begin : end;
      words_[word].length = static_cast<uint16_t>(word_end - words_[word].begin);
    }
    tokens += static_cast<int>(end - begin);
  }
  word_count_ = count;
  return tokens;
}

void Masker::ChooseWords(int budget, PhiloxStream& random) {
  // A Fisher-Yates shuffle that goes only as far as it is needed.
  int left = budget;
  for (size_t i = 0; i < word_count_ && left > 0; ++i) {
    std::swap(words_[i], words_[i + random.Below(static_cast<uint32_t>(word_count_ - i))]);
    const Word word = words_[i];
    if (word.length > left) continue;
    Choose(word.begin, word.begin + word.length);
    left -= word.length;
  }
}

void Masker::ChooseNgrams(int budget, PhiloxStream& random) {
  order_.resize(word_count_);
  std::iota(order_.begin(), order_.end(), uint16_t{0});
  int left = budget;
  for (size_t i = 0; i < word_count_ && left > 0; ++i) {
    std::swap(order_[i], order_[i + random.Below(static_cast<uint32_t>(word_count_ - i))]);
    const size_t first = order_[i];
    const int most = WordsInText(first);
    const auto& below = ngram_below_[most - 1];
    const uint64_t draw = random.Next();
    int n = 1;
    while (n < most && draw >= below[n - 1]) ++n;
    const int begin = words_[first].begin;
    const auto end_of = [&](int words) {
      const Word last = words_[first + static_cast<size_t>(words) - 1];
      return last.begin + last.length;
    };
    while (n > 0 && end_of(n) - begin > left) --n;
    if (n == 0 || AnyChosen(begin, end_of(n))) continue;
    Choose(begin, end_of(n));
    left -= end_of(n) - begin;
  }
}

int Masker::WordsInText(size_t first) const {
  int words = 1;
  for (size_t next = first + 1; next < word_count_ && words < masking_.ngram_max; ++next, ++words) {
    if (words_[next - 1].begin + words_[next - 1].length != words_[next].begin) break;
  }
  return words;
}

bool Masker::AnyChosen(int begin, int end) const {
  for (int position = begin; position < end; ++position) {
    if ((chosen_[static_cast<size_t>(position) / 64] >> (position % 64) & 1) != 0) return true;
  }
  return false;
}

void Masker::Choose(int begin, int end) {
  for (int position = begin; position < end; ++position) {
    chosen_[static_cast<size_t>(position) / 64] |= uint64_t{1} << (position % 64);
  }
}

int32_t Masker::Replacement(int32_t original, PhiloxStream& random) const {
  const uint64_t choice = random.Next();
  if (choice < mask_below_) return vocabulary_.mask_id;
  if (choice >= random_below_) return original;
  auto id = static_cast<int32_t>(
      random.Below(static_cast<uint32_t>(vocabulary_.vocab_size) - static_cast<uint32_t>(special_ids_.size())));
  for (const int32_t special : special_ids_) id += id >= special ? 1 : 0;
  return id;
}

}  // namespace bert::sampling
