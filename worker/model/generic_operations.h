// The operations of operations.h in plain ATen: for any device, and the reference in tests of the CPU's loops.
#ifndef BERT_WORKER_MODEL_GENERIC_OPERATIONS_H_
#define BERT_WORKER_MODEL_GENERIC_OPERATIONS_H_

#include <ATen/core/Tensor.h>

#include "worker/model/operations.h"

namespace bert::model::generic {

at::Tensor BiasGelu(const at::Tensor& x, const Weight& bias, Activation activation);
at::Tensor BiasGeluBackward(at::Tensor d_output, const at::Tensor& x, const Weight& bias, Activation activation);
void ApplyDropout(at::Tensor& x, const Dropout& dropout);
Normed AddDropoutNorm(at::Tensor branch, const at::Tensor& residual, const NormSite& site);
NormedGrad AddDropoutNormBackward(const NormedInflow& inflow, const Normed& normed, const NormSite& site);
Attended Attention(const at::Tensor& query_key_value, const Weight& bias, const AttentionPlan& plan,
                   const Dropout& dropout);
at::Tensor AttentionBackward(const at::Tensor& d_output, const at::Tensor& query_key_value, const Weight& bias,
                             const Attended& attended, const AttentionPlan& plan, const Dropout& dropout);
CrossEntropyResult CrossEntropy(at::Tensor logits, const Weight& bias, const at::Tensor& labels, bool with_gradient);
at::Tensor Embed(const EmbeddingIds& ids, const Embeddings& embeddings, at::ScalarType dtype);
void EmbedBackward(const at::Tensor& d_embedded, const EmbeddingIds& ids, const Embeddings& embeddings);

}  // namespace bert::model::generic

#endif  // BERT_WORKER_MODEL_GENERIC_OPERATIONS_H_
