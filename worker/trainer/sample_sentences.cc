#include "worker/trainer/sample_sentences.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace bert::trainer {
namespace {

bool EndsSentence(const text::Tokenizer& tokenizer, int32_t id) {
  const std::string& token = tokenizer.Token(static_cast<uint32_t>(id));
  return token == "." || token == "!" || token == "?";
}

// Between the two parts of a pair.
bool Parts(const text::Tokenizer& tokenizer, int32_t id) {
  return static_cast<uint32_t>(id) == tokenizer.special().sep;
}

// The segment [begin, end) of a row in which `position` lies, without its [CLS] and [SEP].
struct Stretch {
  int64_t begin = 0;
  int64_t end = 0;
};

class RowText {
 public:
  RowText(const sampling::RowBatch& batch, int64_t first_token, int64_t first_mask, int64_t masks)
      : batch_(batch), first_token_(first_token), first_mask_(first_mask), masks_(masks) {}

  int64_t MaskPosition(int64_t i) const { return batch_.masked_positions[first_mask_ + i]; }
  int32_t Label(int64_t i) const { return batch_.labels[first_mask_ + i]; }
  int32_t Given(int64_t position) const { return batch_.token_ids[first_token_ + position]; }

  int32_t Original(int64_t position) const {
    for (int64_t i = 0; i < masks_; ++i) {
      if (MaskPosition(i) == position) return Label(i);
    }
    return Given(position);
  }

  SampleSentence Cut(int32_t row, const Stretch& stretch) const {
    SampleSentence sentence{.row = row, .ids = {}, .masks = {}};
    for (int64_t position = stretch.begin; position < stretch.end; ++position) {
      sentence.ids.push_back(Given(position));
    }
    for (int64_t i = 0; i < masks_; ++i) {
      const int64_t position = MaskPosition(i);
      if (position < stretch.begin || position >= stretch.end) continue;
      sentence.masks.push_back({static_cast<int32_t>(position - stretch.begin), position, Label(i)});
    }
    return sentence;
  }

 private:
  const sampling::RowBatch& batch_;
  const int64_t first_token_;
  const int64_t first_mask_;
  const int64_t masks_;
};

Stretch SentenceAround(const RowText& text, const Stretch& segment, int64_t mask, const text::Tokenizer& tokenizer,
                       int tokens_max) {
  Stretch sentence = {mask, mask};
  const auto begins = [&](int64_t position) {
    if (position == segment.begin) return true;
    const int32_t before = text.Original(position - 1);
    return EndsSentence(tokenizer, before) || Parts(tokenizer, before);
  };
  const auto ends = [&](int64_t position) {
    if (position == segment.end || Parts(tokenizer, text.Original(position))) return true;
    return position > mask && EndsSentence(tokenizer, text.Original(position - 1));
  };
  while (!begins(sentence.begin)) --sentence.begin;
  while (!ends(sentence.end)) ++sentence.end;
  if (sentence.end - sentence.begin > tokens_max) {
    sentence.begin = std::clamp(mask - tokens_max / 2, sentence.begin, sentence.end - tokens_max);
    sentence.end = sentence.begin + tokens_max;
  }
  return sentence;
}

std::string Text(const SampleSentence& sentence, const text::Tokenizer& tokenizer) {
  const std::vector<uint32_t> ids(sentence.ids.begin(), sentence.ids.end());
  return tokenizer.Decode(ids, /*skip_special_tokens=*/false);
}

std::string Percent(double probability) { return absl::StrFormat("%.1f%%", 100 * probability); }

const std::string& TokenOf(int32_t id, const text::Tokenizer& tokenizer) {
  return tokenizer.Token(static_cast<uint32_t>(id));
}

// What stands there where it is not [MASK]: a tenth of the tokens to predict are left, a tenth are others.
std::string GivenNote(const SampleSentence& sentence, const SampleMask& mask, const text::Tokenizer& tokenizer) {
  const int32_t given = sentence.ids[mask.index];
  if (static_cast<uint32_t>(given) == tokenizer.special().mask) return "";
  return absl::StrCat(" at \"", TokenOf(given, tokenizer), "\"");
}

// For a table's cell.
std::string Cell(const std::string& text) {
  return absl::StrReplaceAll(text, {{"\\", "\\\\"},
                                    {"|", "\\|"},
                                    {"*", "\\*"},
                                    {"_", "\\_"},
                                    {"`", "\\`"},
                                    {"<", "&lt;"},
                                    {"#", "\\#"},
                                    {"[", "\\["}});
}

}  // namespace

std::vector<SampleSentence> PickSentences(const sampling::RowBatch& batch, const text::Tokenizer& tokenizer,
                                          int tokens_max) {
  std::vector<SampleSentence> sentences;
  int64_t token = 0;
  int64_t mask = 0;
  size_t segment = 0;
  for (int32_t row = 0; row < batch.row_count; ++row) {
    const RowText text(batch, token, mask, batch.masked_counts[row]);
    int64_t begin = 0;
    for (int i = 0; i < batch.segment_counts[row]; ++i, ++segment) {
      const int64_t end = begin + batch.segment_lengths[segment];
      const bool has_first =
          batch.masked_counts[row] > 0 && begin <= text.MaskPosition(0) && text.MaskPosition(0) < end;
      if (has_first) {
        sentences.push_back(
            text.Cut(row, SentenceAround(text, {begin + 1, end - 1}, text.MaskPosition(0), tokenizer, tokens_max)));
      }
      begin = end;
    }
    token += begin;
    mask += batch.masked_counts[row];
  }
  return sentences;
}

std::vector<std::string> SampleLines(int number, const SampleSentence& sentence,
                                     const std::vector<MaskPrediction>& predictions, const text::Tokenizer& tokenizer) {
  std::vector<std::string> lines = {absl::StrCat("sample ", number, ": ", Text(sentence, tokenizer))};
  for (size_t i = 0; i < sentence.masks.size(); ++i) {
    const std::string best =
        absl::StrJoin(predictions[i].best, ", ", [&](std::string* out, const TokenProbability& token) {
          absl::StrAppend(out, TokenOf(token.id, tokenizer), " ", Percent(token.probability));
        });
    lines.push_back(absl::StrFormat("  mask %d%s: %s; right: %s %s", i + 1,
                                    GivenNote(sentence, sentence.masks[i], tokenizer), best,
                                    TokenOf(sentence.masks[i].label, tokenizer), Percent(predictions[i].right)));
  }
  return lines;
}

std::string SampleMarkdown(const SampleSentence& sentence, const std::vector<MaskPrediction>& predictions,
                           const text::Tokenizer& tokenizer) {
  std::string out = absl::StrCat(Cell(Text(sentence, tokenizer)),
                                 "\n\n| mask | predicted | second | third | right |\n|---|---|---|---|---|\n");
  for (size_t i = 0; i < sentence.masks.size(); ++i) {
    absl::StrAppend(&out, "| ", i + 1, Cell(GivenNote(sentence, sentence.masks[i], tokenizer)));
    for (size_t rank = 0; rank < 3; ++rank) {
      if (rank >= predictions[i].best.size()) {
        absl::StrAppend(&out, " | ");
        continue;
      }
      const TokenProbability& token = predictions[i].best[rank];
      absl::StrAppend(&out, " | ", Cell(TokenOf(token.id, tokenizer)), " ", Percent(token.probability));
    }
    absl::StrAppend(&out, " | ", Cell(TokenOf(sentence.masks[i].label, tokenizer)), " ", Percent(predictions[i].right),
                    " |\n");
  }
  return out;
}

}  // namespace bert::trainer
