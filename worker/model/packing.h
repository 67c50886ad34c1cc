// A micro-batch without its padding.
#ifndef BERT_WORKER_MODEL_PACKING_H_
#define BERT_WORKER_MODEL_PACKING_H_

#include <ATen/core/Tensor.h>

#include "worker/model/encoder.h"
#include "worker/model/masked_lm.h"

namespace bert::model {

struct PackedBatch {
  EncoderInput input;
  at::Tensor masked_positions;  // int64 [M]; among the tokens of `input`, as the next.
  at::Tensor first_tokens;      // int64 [R]; of each row. Only with config.next_sentence.
};

// On the CPU the tokens of all rows one after another, so that nothing is computed on padding; as many stay as the next
// multiple of 32 needs (or all, where there are fewer), since every number of tokens costs the matrix products a kernel
// of its own. On other devices, whose shapes are better static, all R * S tokens.
//
// A masked position on padding stops the process: ValidateBatch finds it.
PackedBatch Pack(const MaskedBatch& batch, const ModelConfig& config);

}  // namespace bert::model

#endif  // BERT_WORKER_MODEL_PACKING_H_
