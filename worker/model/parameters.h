// All parameters of a model in one flat fp32 buffer, with a flat gradient buffer of the same layout: one all-reduce and
// one optimizer pass cover everything.
#ifndef BERT_WORKER_MODEL_PARAMETERS_H_
#define BERT_WORKER_MODEL_PARAMETERS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "worker/model/model_config.h"

namespace bert::model {

// One named tensor inside the flat buffers.
struct ParameterInfo {
  std::string name;  // As in Hugging Face's state dict, for example "bert.encoder.layer.0.output.dense.weight".
  std::vector<int64_t> shape;
  int64_t offset = 0;  // Elements from the start of the flat buffer.
  int64_t size = 0;    // Elements.
  bool decay = false;  // Weight decay applies: not for biases and LayerNorm.
  // Rows at the end of the first dimension that are in no file: see ModelConfig::vocab_multiple.
  int64_t padding_rows = 0;

  // Of a tensor of this shape: what files have of it.
  at::Tensor WithoutPadding(const at::Tensor& tensor) const { return tensor.narrow(0, 0, shape[0] - padding_rows); }
};

// Elements without padding.
int64_t UnpaddedSize(const std::vector<ParameterInfo>& infos);
// A flat buffer without what belongs to padding, on its device; the buffer itself where there is no padding.
at::Tensor Unpadded(const std::vector<ParameterInfo>& infos, const at::Tensor& flat);
// The way back: `flat` keeps what it has of padding.
void CopyUnpadded(const std::vector<ParameterInfo>& infos, const at::Tensor& unpadded, const at::Tensor& flat);

// Owns the buffers, whose addresses never change: update them in place, never assign another tensor to them. Not
// thread-safe.
//
// master: fp32 [n], what the optimizer updates and checkpoints store.
// grad:   fp32 [n], the sum over all micro-batches since ZeroGrad.
// With Precision::kBf16 the forward pass computes on bf16 copies: after changing `master` call RefreshCompute once.
class Parameters {
 public:
  // Tied tensors (the MLM decoder and the word embeddings) appear once.
  Parameters(std::vector<ParameterInfo> infos, Precision precision, at::Device device);

  const std::vector<ParameterInfo>& infos() const { return infos_; }
  Precision precision() const { return precision_; }
  // Elements of each buffer: the sum of the tensors' sizes.
  int64_t size() const { return size_; }
  at::Tensor& master() { return master_; }
  at::Tensor& grad() { return grad_; }

  // What the forward pass reads, flat: bf16 [n], or `master` itself in fp32. An optimizer that writes it together with
  // `master` need not call RefreshCompute.
  at::Tensor& compute() { return compute_; }

  // Views in the tensor's shape; index as in infos().
  at::Tensor MasterView(int64_t index) const;
  at::Tensor GradView(int64_t index) const;
  at::Tensor ComputeView(int64_t index) const;

  // Copies `master` to `compute` (a no-op in fp32, where they are one).
  void RefreshCompute();
  void ZeroGrad();

 private:
  at::Tensor View(const at::Tensor& flat, int64_t index) const;

  std::vector<ParameterInfo> infos_;
  Precision precision_;
  int64_t size_ = 0;
  at::Tensor master_;
  at::Tensor grad_;
  at::Tensor compute_;
};

}  // namespace bert::model

#endif  // BERT_WORKER_MODEL_PARAMETERS_H_
