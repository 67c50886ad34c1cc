// The operations of operations.h by the fused kernels of this folder, for tensors that some launcher serves. Sums are
// in an order that the shapes fix: repeated calls give the same bits.
//
// Where a shape does not suit the kernels (a number of columns that is no multiple of four, a tensor that is not
// aligned or not contiguous, LayerNorms wider than kNormColumnsMax) they do the same in plain ATen
// (generic_operations.h), which cannot read a Dropout's seed from device memory and stops the process there.
#ifndef BERT_WORKER_MODEL_CUDA_OPERATIONS_H_
#define BERT_WORKER_MODEL_CUDA_OPERATIONS_H_

#include <ATen/core/Tensor.h>

#include "worker/model/cuda/launcher.h"
#include "worker/model/operations.h"

namespace bert::model::cuda {

// For tensors of x's device; null where there are no kernels for it.
const Launcher* LauncherFor(const at::Tensor& x);

at::Tensor BiasGelu(const Launcher& launcher, const at::Tensor& x, const Weight& bias, Activation activation);
at::Tensor BiasGeluBackward(const Launcher& launcher, at::Tensor d_output, const at::Tensor& x, const Weight& bias,
                            Activation activation);
void ApplyDropout(const Launcher& launcher, at::Tensor& x, const Dropout& dropout);
Normed AddDropoutNorm(const Launcher& launcher, at::Tensor branch, const at::Tensor& residual, const NormSite& site);
NormedGrad AddDropoutNormBackward(const Launcher& launcher, const NormedInflow& inflow, const Normed& normed,
                                  const NormSite& site);
// Rows of `logits` may be padded: its stride is what counts.
CrossEntropyResult CrossEntropy(const Launcher& launcher, at::Tensor logits, const Weight& bias,
                                const at::Tensor& labels, bool with_gradient);
at::Tensor Embed(const Launcher& launcher, const EmbeddingIds& ids, const Embeddings& embeddings, at::ScalarType dtype);
void EmbedBackward(const Launcher& launcher, const at::Tensor& d_embedded, const EmbeddingIds& ids,
                   const Embeddings& embeddings);

// grad (fp32 [columns]) += the sums of the columns of x [rows, columns], whose rows may be padded.
void AddColumnSums(const Launcher& launcher, const at::Tensor& x, const at::Tensor& grad);
// Puts up to three matrices [rows, columns] of the same strides side by side, and adds the sums of the columns to grad.
at::Tensor JoinColumns(const Launcher& launcher, const std::vector<at::Tensor>& parts, const at::Tensor& grad);

// int32 [capacity + 1]: where each segment of rows of `segments` (int32 [rows, seq], contiguous) begins in the
// flattened tokens, padding being segments too; the rest holds the number of tokens. `capacity` is at least their
// number.
at::Tensor SegmentStarts(const Launcher& launcher, const at::Tensor& segments, int64_t capacity);

}  // namespace bert::model::cuda

#endif  // BERT_WORKER_MODEL_CUDA_OPERATIONS_H_
