// Small models and batches for tests.
#ifndef BERT_WORKER_MODEL_TEST_BATCHES_H_
#define BERT_WORKER_MODEL_TEST_BATCHES_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "worker/model/masked_lm.h"
#include "worker/model/model_config.h"

namespace bert::model {

// 2 layers of 16 with 2 heads, 37 tokens, no dropout.
ModelConfig TinyConfig(NormPlacement norm);

// With every parameter drawn from `seed`, biases and LayerNorm too, and large enough that attention is far from
// uniform.
std::unique_ptr<MaskedLm> TinyModel(const ModelConfig& config, Precision precision = Precision::kFp32,
                                    uint64_t seed = 1);

// `layout[row]` are the lengths of the row's segments; rows are padded to `seq`. Ids and labels are drawn from `seed`;
// in each segment about every fifth token is masked, and at least one.
MaskedBatch DrawBatch(const std::vector<std::vector<int64_t>>& layout, int64_t seq, const ModelConfig& config,
                      uint64_t seed = 1);

// Sentence pairs: `parts[row]` are the lengths of the row's two parts, [CLS] and [SEP] included, which make one
// segment. Every other row's second part follows its first.
MaskedBatch DrawPairs(const std::vector<std::pair<int64_t, int64_t>>& parts, int64_t seq, const ModelConfig& config,
                      uint64_t seed = 1);

}  // namespace bert::model

#endif  // BERT_WORKER_MODEL_TEST_BATCHES_H_
