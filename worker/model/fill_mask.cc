#include "worker/model/fill_mask.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "dataloader/text/tokenizer_files.h"
#include "worker/model/pretrained.h"

namespace bert::model {
namespace {

// One sentence as one row.
MaskedBatch BatchOf(const std::vector<int64_t>& ids, const std::vector<int64_t>& masked) {
  const int64_t length = static_cast<int64_t>(ids.size());
  MaskedBatch batch;
  batch.input_ids = at::empty({1, length}, at::kLong);
  std::copy(ids.begin(), ids.end(), batch.input_ids.data_ptr<int64_t>());
  batch.position_ids = at::arange(length, at::kLong).unsqueeze(0);
  batch.segments = at::zeros({1, length}, at::kInt);
  batch.masked_positions = at::empty({static_cast<int64_t>(masked.size())}, at::kLong);
  std::copy(masked.begin(), masked.end(), batch.masked_positions.data_ptr<int64_t>());
  batch.labels = at::zeros_like(batch.masked_positions);
  return batch;
}

std::vector<Prediction> Best(const at::Tensor& probabilities, int64_t top_k, const text::Tokenizer& tokenizer) {
  const float* probability = probabilities.const_data_ptr<float>();
  std::vector<uint32_t> ids(tokenizer.size());
  for (uint32_t id = 0; id < ids.size(); ++id) ids[id] = id;
  const size_t count = std::min(ids.size(), static_cast<size_t>(top_k));
  const auto end = ids.begin() + static_cast<std::ptrdiff_t>(count);
  std::partial_sort(ids.begin(), end, ids.end(), [probability](uint32_t a, uint32_t b) {
    return probability[a] != probability[b] ? probability[a] > probability[b] : a < b;
  });
  std::vector<Prediction> best;
  for (auto id = ids.begin(); id != end; ++id) best.push_back({tokenizer.Token(*id), probability[*id]});
  return best;
}

}  // namespace

MaskFiller::MaskFiller(std::unique_ptr<MaskedLm> model, std::unique_ptr<text::Tokenizer> tokenizer)
    : model_(std::move(model)), tokenizer_(std::move(tokenizer)) {}

absl::StatusOr<MaskFiller> MaskFiller::Load(const std::string& directory) {
  ASSIGN_OR_RETURN(std::unique_ptr<MaskedLm> model, LoadPretrained(directory, Precision::kFp32, at::kCPU));
  ASSIGN_OR_RETURN(std::unique_ptr<text::Tokenizer> tokenizer, text::LoadTokenizer(directory));
  const size_t tokens = tokenizer->size();
  if (static_cast<int64_t>(tokens) != model->config().vocab_size) {
    return absl::FailedPreconditionError(absl::StrCat(directory, ": the tokenizer has ", tokens,
                                                      " tokens, but config.json says vocab_size ",
                                                      model->config().vocab_size, ": they are not of one model"));
  }
  return MaskFiller(std::move(model), std::move(tokenizer));
}

absl::StatusOr<std::vector<FilledMask>> MaskFiller::Fill(const std::string& text, int64_t top_k) {
  const text::SpecialIds& special = tokenizer_->special();
  std::vector<uint32_t> pieces;
  tokenizer_->Encode(text, &pieces);
  std::vector<int64_t> ids = {special.cls};
  ids.insert(ids.end(), pieces.begin(), pieces.end());
  ids.push_back(special.sep);
  std::vector<int64_t> masked;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] == special.mask) masked.push_back(static_cast<int64_t>(i));
  }
  if (masked.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("no ", tokenizer_->Token(special.mask), " in '", text, "'"));
  }
  if (static_cast<int64_t>(ids.size()) > model_->config().max_position_embeddings) {
    return absl::InvalidArgumentError(
        absl::StrCat("a text of ", ids.size(), " tokens; the model takes ", model_->config().max_position_embeddings));
  }
  const at::Tensor probabilities = at::softmax(model_->Logits(BatchOf(ids, masked)), -1);
  std::vector<FilledMask> filled;
  for (size_t i = 0; i < masked.size(); ++i) {
    filled.push_back(
        {.position = masked[i], .predictions = Best(probabilities[static_cast<int64_t>(i)], top_k, *tokenizer_)});
  }
  return filled;
}

}  // namespace bert::model
