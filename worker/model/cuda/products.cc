#include "worker/model/cuda/products.h"

#include <ATen/ops/empty.h>

#include "worker/model/cuda/product.h"
#include "worker/model/cuda/typed.h"

namespace bert::model::cuda {
namespace {

constexpr int64_t kRowAlignment = 8;  // Elements.

// A row-major matrix [rows, columns] is, without moving anything, the column-major matrix [columns, rows]. So each
// product below is the transpose of the one that its caller means, with the factors exchanged.
at::Tensor EmptyRows(int64_t rows, int64_t columns, const at::Tensor& like) {
  const int64_t padded = (columns + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
  return at::empty({rows, padded}, like.options()).narrow(1, 0, columns);
}

}  // namespace

bool ProductServes(const at::Tensor& x) {
  const auto address = reinterpret_cast<uintptr_t>(x.data_ptr());
  return x.scalar_type() == at::kBFloat16 && x.dim() == 2 && x.stride(1) == 1 && x.stride(0) >= x.size(1) &&
         x.stride(0) % kRowAlignment == 0 && address % (kRowAlignment * sizeof(Bf16)) == 0;
}

at::Tensor MatMul(const Launcher& launcher, const at::Tensor& x, const at::Tensor& weight, const at::Tensor* bias) {
  at::Tensor output = EmptyRows(x.size(0), weight.size(0), x);
  launcher.product({.m = weight.size(0),
                    .n = x.size(0),
                    .k = x.size(1),
                    .transpose_a = true,
                    .transpose_b = false,
                    .a = Data<Bf16>(weight),
                    .lda = weight.stride(0),
                    .b = Data<Bf16>(x),
                    .ldb = x.stride(0),
                    .d_bf16 = Data<Bf16>(output),
                    .d_fp32 = nullptr,
                    .ldd = output.stride(0),
                    .beta = 0,
                    .bias = bias == nullptr ? nullptr : Data<Bf16>(*bias)});
  return output;
}

at::Tensor MatMulBackward(const Launcher& launcher, const at::Tensor& d_output, const at::Tensor& x,
                          const Weight& weight) {
  launcher.product({.m = x.size(1),
                    .n = d_output.size(1),
                    .k = x.size(0),
                    .transpose_a = false,
                    .transpose_b = true,
                    .a = Data<Bf16>(x),
                    .lda = x.stride(0),
                    .b = Data<Bf16>(d_output),
                    .ldb = d_output.stride(0),
                    .d_bf16 = nullptr,
                    .d_fp32 = Data<float>(weight.grad),
                    .ldd = weight.grad.stride(0),
                    .beta = 1,
                    .bias = nullptr});
  at::Tensor d_x = EmptyRows(x.size(0), x.size(1), x);
  launcher.product({.m = x.size(1),
                    .n = x.size(0),
                    .k = d_output.size(1),
                    .transpose_a = false,
                    .transpose_b = false,
                    .a = Data<Bf16>(weight.value),
                    .lda = weight.value.stride(0),
                    .b = Data<Bf16>(d_output),
                    .ldb = d_output.stride(0),
                    .d_bf16 = Data<Bf16>(d_x),
                    .d_fp32 = nullptr,
                    .ldd = d_x.stride(0),
                    .beta = 0,
                    .bias = nullptr});
  return d_x;
}

}  // namespace bert::model::cuda
