// The table of all kernels for a Runner, whose Run(kernel, grid) runs one, on a device or on the host, and whose
// Multiply(product) computes a product.
#ifndef BERT_WORKER_MODEL_CUDA_LAUNCHES_H_
#define BERT_WORKER_MODEL_CUDA_LAUNCHES_H_

#include "worker/model/cuda/column_kernels.h"
#include "worker/model/cuda/embedding_kernels.h"
#include "worker/model/cuda/launcher.h"
#include "worker/model/cuda/loss_kernels.h"
#include "worker/model/cuda/norm_kernels.h"
#include "worker/model/cuda/optimizer_kernels.h"

namespace bert::model::cuda {

template <typename Runner, typename Kernel, typename Args>
void RunKernel(const Args& args, const Grid& grid) {
  Runner::Run(Kernel{args}, grid);
}

// By how many registers a row takes: base has 6 vectors a lane, large 8.
template <typename Runner, template <typename, int> typename Kernel, typename T, typename Args>
void RunNorm(const Args& args, const Grid& grid) {
  const int vectors = (args.columns + kWarpColumns - 1) / kWarpColumns;
  static_assert(kNormColumnsMax == 16 * kWarpColumns);
  if (vectors <= 2) {
    Runner::Run(Kernel<T, 2>{args}, grid);
  } else if (vectors <= 6) {
    Runner::Run(Kernel<T, 6>{args}, grid);
  } else if (vectors <= 8) {
    Runner::Run(Kernel<T, 8>{args}, grid);
  } else {
    Runner::Run(Kernel<T, 16>{args}, grid);
  }
}

template <typename Runner, typename T>
constexpr Launches<T> MakeLaunches() {
  return {.norm_forward = RunNorm<Runner, NormForwardKernel, T, NormForwardArgs<T>>,
          .norm_backward = RunNorm<Runner, NormBackwardKernel, T, NormBackwardArgs<T>>,
          .gelu_forward = RunKernel<Runner, GeluForwardKernel<T>, GeluArgs<T>>,
          .gelu_backward = RunKernel<Runner, GeluBackwardKernel<T>, GeluArgs<T>>,
          .column_sums = RunKernel<Runner, ColumnSumKernel<T>, ColumnSumArgs<T>>,
          .dropout = RunKernel<Runner, DropoutKernel<T>, DropoutArgs<T>>,
          .cross_entropy = RunKernel<Runner, CrossEntropyKernel<T>, CrossEntropyArgs<T>>,
          .embed = RunKernel<Runner, EmbedKernel<T>, EmbedArgs<T>>,
          .scatter = RunKernel<Runner, ScatterKernel<T>, ScatterArgs<T>>,
          .scatter_edges = RunKernel<Runner, ScatterEdgesKernel<T>, ScatterArgs<T>>};
}

template <typename Runner>
constexpr Launcher MakeLauncher() {
  return {.fp32 = MakeLaunches<Runner, float>(),
          .bf16 = MakeLaunches<Runner, Bf16>(),
          .fold = RunKernel<Runner, FoldKernel, FoldArgs>,
          .segment_starts = RunKernel<Runner, SegmentStartKernel, SegmentStartArgs>,
          .adamw = RunKernel<Runner, AdamWKernel, AdamWArgs>,
          .squares = RunKernel<Runner, SquaresKernel, SquaresArgs>,
          .product = Runner::Multiply};
}

}  // namespace bert::model::cuda

#endif  // BERT_WORKER_MODEL_CUDA_LAUNCHES_H_
