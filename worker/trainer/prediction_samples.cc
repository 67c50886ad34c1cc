#include "worker/trainer/prediction_samples.h"

#include <ATen/ops/softmax.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "dataloader/text/tokenizer_json_reader.h"
#include "worker/trainer/batch_tensors.h"
#include "worker/trainer/log_line.h"

namespace bert::trainer {
namespace {

constexpr int64_t kBest = 3;

absl::StatusOr<std::unique_ptr<text::Tokenizer>> TokenizerOf(const DatasetDescription& dataset) {
  for (const TokenizerFile& file : dataset.tokenizer_files) {
    if (file.name != "tokenizer.json") continue;
    ASSIGN_OR_RETURN(auto tokenizer, text::ParseTokenizerJson(file.content));
    if (static_cast<int64_t>(tokenizer->size()) != dataset.vocab_size) {
      return absl::FailedPreconditionError(
          absl::StrCat("it has ", tokenizer->size(), " tokens, the dataset ", dataset.vocab_size));
    }
    return tokenizer;
  }
  return absl::NotFoundError("it has no tokenizer.json");
}

MaskPrediction Best(const float* probabilities, int64_t vocab_size, int32_t label) {
  std::vector<TokenProbability> best;
  for (int64_t id = 0; id < vocab_size; ++id) {
    const double probability = probabilities[id];
    if (static_cast<int64_t>(best.size()) == kBest && !(probability > best.back().probability)) continue;
    const auto place = std::upper_bound(best.begin(), best.end(), probability,
                                        [](double p, const TokenProbability& token) { return p > token.probability; });
    best.insert(place, {static_cast<int32_t>(id), probability});
    if (static_cast<int64_t>(best.size()) > kBest) best.pop_back();
  }
  return {.best = std::move(best), .right = probabilities[label]};
}

}  // namespace

std::vector<std::vector<MaskPrediction>> PredictMasks(model::MaskedLm& model, const sampling::RowBatch& rows,
                                                      const std::vector<SampleSentence>& sentences, int32_t width) {
  const RowReader reader(rows);
  std::vector<std::vector<MaskPrediction>> all;
  for (const SampleSentence& sentence : sentences) {
    model::MaskedBatch batch =
        ToDevice(reader.Tensors(sentence.row, sentence.row + 1, width, model.config().pad_token_id),
                 model.parameters().master().device());
    const at::Tensor probabilities = at::softmax(model.Logits(batch), 1).cpu().contiguous();
    const at::Tensor positions = batch.masked_positions.cpu();
    const int64_t vocab_size = probabilities.size(1);
    std::vector<MaskPrediction>& of_sentence = all.emplace_back();
    size_t next = 0;
    for (int64_t i = 0; i < positions.size(0) && next < sentence.masks.size(); ++i) {
      if (positions.const_data_ptr<int64_t>()[i] != sentence.masks[next].position) continue;
      of_sentence.push_back(
          Best(probabilities.const_data_ptr<float>() + i * vocab_size, vocab_size, sentence.masks[next].label));
      ++next;
    }
  }
  return all;
}

PredictionSamples::PredictionSamples(const DatasetDescription& dataset, int32_t count, int32_t width)
    : split_rows_(dataset.validation_rows),
      count_(static_cast<int32_t>(std::min<int64_t>(count, dataset.validation_rows))),
      width_(width) {
  if (count_ == 0) return;
  absl::StatusOr<std::unique_ptr<text::Tokenizer>> tokenizer = TokenizerOf(dataset);
  if (tokenizer.ok()) {
    tokenizer_ = *std::move(tokenizer);
  } else {
    LogWarning(absl::StrCat("no predictions are shown, for the dataset's tokenizer cannot be read: ",
                            tokenizer.status().message()));
  }
}

absl::Status PredictionSamples::Read(const OpenBatchSource& open) {
  ASSIGN_OR_RETURN(const std::unique_ptr<BatchSource> source, open({.split = Split::kValidation,
                                                                    .global_rows = count_,
                                                                    .row_begin = 0,
                                                                    .row_end = count_,
                                                                    .first_step = 0,
                                                                    .last_step = 1,
                                                                    .split_rows = split_rows_}));
  ASSIGN_OR_RETURN(rows_, source->NextStep());
  sentences_ = PickSentences(rows_, *tokenizer_);
  read_ = true;
  return absl::OkStatus();
}

absl::StatusOr<std::string> PredictionSamples::Show(model::MaskedLm& model, const OpenBatchSource& open) {
  if (tokenizer_ == nullptr) return "";
  if (!read_) RETURN_IF_ERROR(Read(open));
  const auto predictions = PredictMasks(model, rows_, sentences_, width_);
  std::string markdown;
  for (size_t i = 0; i < sentences_.size(); ++i) {
    for (const std::string& line : SampleLines(static_cast<int>(i + 1), sentences_[i], predictions[i], *tokenizer_)) {
      LogInfo(line);
    }
    absl::StrAppend(&markdown, i > 0 ? "\n" : "", SampleMarkdown(sentences_[i], predictions[i], *tokenizer_));
  }
  return markdown;
}

}  // namespace bert::trainer
