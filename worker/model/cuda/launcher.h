// The kernels of this folder as functions that put one on the device's queue, and who has them.
#ifndef BERT_WORKER_MODEL_CUDA_LAUNCHER_H_
#define BERT_WORKER_MODEL_CUDA_LAUNCHER_H_

#include <cstdint>

#include "worker/model/cuda/arguments.h"
#include "worker/model/cuda/product.h"

namespace bert::model::cuda {

template <typename T>
struct Launches {
  void (*norm_forward)(const NormForwardArgs<T>&, const Grid&);
  void (*norm_backward)(const NormBackwardArgs<T>&, const Grid&);
  void (*gelu_forward)(const GeluArgs<T>&, const Grid&);
  void (*gelu_backward)(const GeluArgs<T>&, const Grid&);
  void (*column_sums)(const ColumnSumArgs<T>&, const Grid&);
  void (*dropout)(const DropoutArgs<T>&, const Grid&);
  void (*cross_entropy)(const CrossEntropyArgs<T>&, const Grid&);
  void (*embed)(const EmbedArgs<T>&, const Grid&);
  void (*scatter)(const ScatterArgs<T>&, const Grid&);
  void (*scatter_edges)(const ScatterArgs<T>&, const Grid&);
};

// Each function returns at once; the kernel runs behind what was put on the current stream before. A device that cannot
// run it throws std::runtime_error.
struct Launcher {
  Launches<float> fp32;
  Launches<Bf16> bf16;
  void (*fold)(const FoldArgs&, const Grid&);
  void (*segment_starts)(const SegmentStartArgs&, const Grid&);
  void (*adamw)(const AdamWArgs&, const Grid&);
  void (*squares)(const SquaresArgs&, const Grid&);
  void (*product)(const Product&);

  const Launches<float>& For(float) const { return fp32; }
  const Launches<Bf16>& For(Bf16) const { return bf16; }
};

// Of CUDA devices; only in builds with CUDA.
const Launcher& DeviceLauncher();

// What serves tensors on the CPU instead of the loops of cpu/: null, unless a test has set the host's emulation of the
// kernels. Not thread-safe.
const Launcher* HostLauncher();
void SetHostLauncher(const Launcher* launcher);

}  // namespace bert::model::cuda

#endif  // BERT_WORKER_MODEL_CUDA_LAUNCHER_H_
