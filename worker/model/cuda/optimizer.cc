#include "worker/model/cuda/optimizer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/sum.h>

#include "worker/model/cuda/typed.h"

namespace bert::model::cuda {
namespace {

constexpr int kThreads = 256;

}  // namespace

void UpdateAdamW(const Launcher& launcher, const AdamWArgs& args) {
  launcher.adamw(args,
                 {.blocks = (args.count + kAdamWBlock - 1) / kAdamWBlock, .threads = kThreads, .shared_bytes = 0});
}

at::Tensor SumOfSquares(const Launcher& launcher, const at::Tensor& values) {
  BERT_CHECK(values.is_contiguous()) << "a flat buffer with gaps";
  const int64_t blocks = (values.numel() + kSquaresBlock - 1) / kSquaresBlock;
  const at::Tensor sums = at::empty({blocks}, values.options().dtype(at::kDouble));
  launcher.squares({.count = values.numel(), .values = Data<float>(values), .sums = sums.mutable_data_ptr<double>()},
                   {.blocks = blocks, .threads = kThreads, .shared_bytes = kThreads / kWarp * int64_t{sizeof(double)}});
  return at::sum(sums);
}

}  // namespace bert::model::cuda
