#include "worker/model/cpu/weight_gradient.h"

#include <ATen/native/CPUBlas.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>

#include "common/check.h"
#include "worker/model/cpu/operations.h"
#include "worker/model/cpu/parallel.h"
#include "worker/model/cpu/tiles.h"
#include "worker/model/cpu/typed.h"

namespace bert::model::cpu {
namespace {

// Tokens are taken in these portions, so that few different kernels have to be generated; a tile's depth divides it.
constexpr int64_t kDepth = 512;
constexpr int64_t kTileDepth = 32;
// Columns of a panel of x, and what one thread computes at a time: its part of both factors fits the second-level
// cache.
constexpr int64_t kPanel = 64;
constexpr int64_t kBlockRows = 128;
constexpr int64_t kBlockPanels = 4;

int64_t RoundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Both factors as the tiles take them.
class Factors {
 public:
  Factors(const at::Tensor& d_output, const at::Tensor& x)
      : tokens_(d_output.size(0)),
        outputs_(d_output.size(1)),
        inputs_(x.size(1)),
        depth_(RoundUp(tokens_, kTileDepth)),
        // Rows that are a power of two apart would compete for the same few lines of the cache.
        left_stride_(depth_ + kTileDepth),
        left_(at::empty({outputs_ * left_stride_}, at::kBFloat16)),
        right_(at::empty({RoundUp(inputs_, kPanel) * depth_}, at::kBFloat16)) {
    const Bf16* from_left = Data<Bf16>(d_output);
    const Bf16* from_right = Data<Bf16>(x);
    Bf16* left = Data<Bf16>(left_);
    uint32_t* right = static_cast<uint32_t*>(right_.data_ptr());
    ParallelFor(depth_ / kTileDepth, 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        const int64_t first = block * kTileDepth;
        const int64_t rows = std::min(kTileDepth, tokens_ - first);
        Tiles().transpose({from_left + first * outputs_, outputs_, rows, outputs_}, kTileDepth, left + first,
                          left_stride_);
        for (int64_t column = 0; column < inputs_; column += kPanel) {
          Tiles().interleave({from_right + first * inputs_ + column, inputs_, rows, std::min(kPanel, inputs_ - column)},
                             kTileDepth, right + (column * depth_ + first * kPanel) / 2, kPanel);
        }
      }
    });
  }

  int64_t outputs() const { return outputs_; }
  int64_t panels() const { return RoundUp(inputs_, kPanel) / kPanel; }

  // Rows [row, row + rows) of the gradient, in the columns of one panel.
  void Multiply(int64_t row, int64_t rows, int64_t panel, float* grad, GradMode mode) const {
    const c10::BFloat16* left = left_.const_data_ptr<c10::BFloat16>() + row * left_stride_;
    const c10::BFloat16* right = right_.const_data_ptr<c10::BFloat16>() + panel * kPanel * depth_;
    const int64_t column = panel * kPanel;
    const int64_t columns = std::min(kPanel, inputs_ - column);
    for (int64_t first = 0; first < depth_; first += kDepth) {
      at::native::cpublas::brgemm(rows, columns, std::min(kDepth, depth_ - first), left_stride_, kPanel, inputs_,
                                  /*add_C=*/mode == GradMode::kAdd || first > 0, left + first, right + first * kPanel,
                                  grad + row * inputs_ + column);
    }
  }

 private:
  const int64_t tokens_;
  const int64_t outputs_;
  const int64_t inputs_;
  const int64_t depth_;  // tokens_, rounded up.
  const int64_t left_stride_;
  at::Tensor left_;   // d_output transposed: [outputs, depth].
  at::Tensor right_;  // x in panels: [inputs / kPanel, depth / 2, kPanel, 2].
};

}  // namespace

bool HasTiles() {
  static const bool has = at::native::cpublas::could_pack(at::kBFloat16);
  return has;
}

void WeightGradient(const at::Tensor& d_output, const at::Tensor& x, const at::Tensor& grad, GradMode mode) {
  BERT_CHECK(d_output.size(0) == x.size(0) && grad.size(0) == d_output.size(1) && grad.size(1) == x.size(1))
      << "a weight's gradient of another shape";
  if (d_output.size(0) == 0) {
    if (mode == GradMode::kReplace) grad.zero_();
    return;
  }
  if (!HasTiles()) {
    if (mode == GradMode::kReplace) {
      grad.copy_(at::mm(d_output.t(), x));
    } else {
      Accumulate(grad, at::mm(d_output.t(), x));
    }
    return;
  }
  const Factors factors(d_output, x);
  float* to = Data<float>(grad);
  const int64_t panel_groups = (factors.panels() + kBlockPanels - 1) / kBlockPanels;
  const int64_t row_blocks = (factors.outputs() + kBlockRows - 1) / kBlockRows;
  ParallelFor(row_blocks * panel_groups, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t row = block / panel_groups * kBlockRows;
      const int64_t first_panel = block % panel_groups * kBlockPanels;
      for (int64_t panel = first_panel; panel < std::min(first_panel + kBlockPanels, factors.panels()); ++panel) {
        factors.Multiply(row, std::min(kBlockRows, factors.outputs() - row), panel, to, mode);
      }
    }
    at::native::cpublas::brgemm_release();
  });
}

}  // namespace bert::model::cpu
