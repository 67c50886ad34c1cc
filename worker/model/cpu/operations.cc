#include "worker/model/cpu/operations.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sum.h>

#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/check.h"
#include "worker/model/cpu/kernels.h"
#include "worker/model/cpu/parallel.h"
#include "worker/model/cpu/typed.h"

namespace bert::model::cpu {
namespace {

constexpr int64_t kElementsPerThreadMin = 16384;

int64_t RowGrain(int64_t columns) {
  return std::max<int64_t>(1, kElementsPerThreadMin / std::max<int64_t>(1, columns));
}

at::Tensor EmptyFloats(int64_t size) { return at::empty({size}, at::kFloat); }

}  // namespace

void Accumulate(const at::Tensor& grad, const at::Tensor& value) {
  BERT_CHECK(grad.numel() == value.numel() && value.is_contiguous()) << "accumulating tensors of different shapes";
  float* to = Data<float>(grad);
  WithType(value, [&](auto type) {
    using T = decltype(type);
    const T* from = Data<T>(value);
    ParallelFor(value.numel(), kElementsPerThreadMin, [&](int64_t begin, int64_t end) {
      KernelsFor(type).accumulate(from + begin, end - begin, to + begin);
    });
  });
}

at::Tensor BiasGelu(const at::Tensor& x, const Weight& bias, Activation activation) {
  at::Tensor output = at::empty_like(x);
  WithType(x, [&](auto type) {
    using T = decltype(type);
    const GeluArgs<T> all = {.begin = 0,
                             .end = x.size(0),
                             .columns = x.size(1),
                             .x = Data<T>(x),
                             .bias = Data<T>(bias.value),
                             .tanh = activation == Activation::kGeluTanh,
                             .d_output = nullptr,
                             .output = Data<T>(output),
                             .d_bias = nullptr};
    ParallelFor(all.end, RowGrain(all.columns), [&](int64_t begin, int64_t end) {
      GeluArgs<T> args = all;
      args.begin = begin;
      args.end = end;
      KernelsFor(type).gelu_forward(args);
    });
  });
  return output;
}

at::Tensor BiasGeluBackward(at::Tensor d_output, const at::Tensor& x, const Weight& bias, Activation activation) {
  WithType(x, [&](auto type) {
    using T = decltype(type);
    const GeluArgs<T> all = {.begin = 0,
                             .end = x.size(0),
                             .columns = x.size(1),
                             .x = Data<T>(x),
                             .bias = Data<T>(bias.value),
                             .tanh = activation == Activation::kGeluTanh,
                             .d_output = Data<T>(d_output),
                             .output = Data<T>(d_output),
                             .d_bias = nullptr};
    ParallelSums(all.end, all.columns, Data<float>(bias.grad), [&](int64_t begin, int64_t end, float* partial) {
      GeluArgs<T> args = all;
      args.begin = begin;
      args.end = end;
      args.d_bias = partial;
      KernelsFor(type).gelu_backward(args);
    });
  });
  return d_output;
}

void ApplyDropout(at::Tensor& x, const Dropout& dropout) {
  WithType(x, [&](auto type) {
    using T = decltype(type);
    ParallelFor(x.numel(), kElementsPerThreadMin,
                [&](int64_t begin, int64_t end) { KernelsFor(type).dropout(Data<T>(x), begin, end, dropout); });
  });
}

Normed AddDropoutNorm(at::Tensor branch, const at::Tensor& residual, const NormSite& site) {
  const int64_t rows = branch.size(0);
  const int64_t columns = branch.size(1);
  Normed normed = {
      .sum = branch, .output = at::empty_like(branch), .mean = EmptyFloats(rows), .rstd = EmptyFloats(rows)};
  WithType(branch, [&](auto type) {
    using T = decltype(type);
    const NormForwardArgs<T> all = {.begin = 0,
                                    .end = rows,
                                    .columns = columns,
                                    .sum = Data<T>(normed.sum),
                                    .bias = site.bias == nullptr ? nullptr : Data<T>(site.bias->value),
                                    .residual = DataOrNull<T>(residual),
                                    .dropout = site.dropout,
                                    .weight = Data<float>(site.norm->weight.value),
                                    .norm_bias = Data<float>(site.norm->bias.value),
                                    .eps = static_cast<float>(site.eps),
                                    .output = Data<T>(normed.output),
                                    .mean = Data<float>(normed.mean),
                                    .rstd = Data<float>(normed.rstd),
                                    .scratch = nullptr};
    ParallelFor(rows, RowGrain(columns), [&](int64_t begin, int64_t end) {
      std::vector<float> scratch(static_cast<size_t>(columns));
      NormForwardArgs<T> args = all;
      args.begin = begin;
      args.end = end;
      args.scratch = scratch.data();
      KernelsFor(type).norm_forward(args);
    });
  });
  return normed;
}

NormedGrad AddDropoutNormBackward(const NormedInflow& inflow, const Normed& normed, const NormSite& site) {
  const int64_t rows = normed.sum.size(0);
  const int64_t columns = normed.sum.size(1);
  NormedGrad grad;
  grad.d_sum = at::empty_like(normed.sum);
  grad.d_branch = site.dropout.active() ? at::empty_like(normed.sum) : grad.d_sum;
  // Of the LayerNorm's weight and bias, and of the branch's bias, side by side.
  std::vector<float> sums(static_cast<size_t>(3 * columns));
  WithType(normed.sum, [&](auto type) {
    using T = decltype(type);
    const NormBackwardArgs<T> all = {.begin = 0,
                                     .end = rows,
                                     .columns = columns,
                                     .d_output = Data<T>(inflow.d_output),
                                     .d_output_too = DataOrNull<T>(inflow.d_output_too),
                                     .d_direct = DataOrNull<T>(inflow.d_sum),
                                     .sum = Data<T>(normed.sum),
                                     .mean = Data<float>(normed.mean),
                                     .rstd = Data<float>(normed.rstd),
                                     .weight = Data<float>(site.norm->weight.value),
                                     .dropout = site.dropout,
                                     .d_sum = Data<T>(grad.d_sum),
                                     .d_branch = site.dropout.active() ? Data<T>(grad.d_branch) : nullptr,
                                     .d_weight = nullptr,
                                     .d_norm_bias = nullptr,
                                     .d_bias = nullptr,
                                     .scratch = nullptr};
    ParallelSums(rows, 3 * columns, sums.data(), [&](int64_t begin, int64_t end, float* partial) {
      std::vector<float> scratch(static_cast<size_t>(2 * columns));
      NormBackwardArgs<T> args = all;
      args.begin = begin;
      args.end = end;
      args.d_weight = partial;
      args.d_norm_bias = partial + columns;
      args.d_bias = site.bias == nullptr ? nullptr : partial + 2 * columns;
      args.scratch = scratch.data();
      KernelsFor(type).norm_backward(args);
    });
  });
  const Kernels<float>& kernels = KernelsFor(0.0f);
  kernels.accumulate(sums.data(), columns, Data<float>(site.norm->weight.grad));
  kernels.accumulate(sums.data() + columns, columns, Data<float>(site.norm->bias.grad));
  if (site.bias != nullptr) kernels.accumulate(sums.data() + 2 * columns, columns, Data<float>(site.bias->grad));
  return grad;
}

CrossEntropyResult CrossEntropy(at::Tensor logits, const Weight& bias, const at::Tensor& labels, bool with_gradient) {
  const at::Tensor indices = labels.contiguous();
  at::Tensor nll = EmptyFloats(logits.size(0));
  WithType(logits, [&](auto type) {
    using T = decltype(type);
    const CrossEntropyArgs<T> all = {.begin = 0,
                                     .end = logits.size(0),
                                     .columns = logits.size(1),
                                     .logits = Data<T>(logits),
                                     .bias = Data<T>(bias.value),
                                     .labels = indices.const_data_ptr<int64_t>(),
                                     .nll = Data<float>(nll),
                                     .d_bias = nullptr,
                                     .scratch = nullptr};
    const auto work = [&](int64_t begin, int64_t end, float* d_bias) {
      std::vector<float> scratch(static_cast<size_t>(all.columns));
      CrossEntropyArgs<T> args = all;
      args.begin = begin;
      args.end = end;
      args.d_bias = d_bias;
      args.scratch = scratch.data();
      KernelsFor(type).cross_entropy(args);
    };
    if (with_gradient) {
      ParallelSums(all.end, all.columns, Data<float>(bias.grad), work);
    } else {
      ParallelFor(all.end, 1, [&](int64_t begin, int64_t end) { work(begin, end, nullptr); });
    }
  });
  return {.nll = at::sum(nll), .d_logits = with_gradient ? logits : at::Tensor()};
}

at::Tensor Embed(const EmbeddingIds& ids, const Embeddings& embeddings, at::ScalarType dtype) {
  const int64_t columns = embeddings.word.value.size(1);
  const at::Tensor words = ids.words.contiguous();
  const at::Tensor positions = ids.positions.contiguous();
  const at::Tensor types = ids.token_types.defined() ? ids.token_types.contiguous() : at::Tensor();
  at::Tensor output = at::empty({words.numel(), columns}, dtype);
  const Table word(embeddings.word.value, words);
  const Table position(embeddings.position.value, positions);
  std::optional<Table> token_type;
  if (types.defined()) token_type.emplace(embeddings.token_type.value, types);
  const float* first_type = Data<float>(embeddings.token_type.value);
  WithType(output, [&](auto type) {
    using T = decltype(type);
    ParallelFor(words.numel(), RowGrain(columns), [&](int64_t begin, int64_t end) {
      std::vector<float> sum(static_cast<size_t>(columns));
      for (int64_t token = begin; token < end; ++token) {
        const float* of_word = word.Row(token);
        const float* of_position = position.Row(token);
        const float* of_type = token_type ? token_type->Row(token) : first_type;
        for (int64_t c = 0; c < columns; ++c) sum[static_cast<size_t>(c)] = of_word[c] + of_position[c] + of_type[c];
        KernelsFor(type).pack(sum.data(), columns, 1, columns, Data<T>(output) + token * columns, columns);
      }
    });
  });
  return output;
}

void EmbedBackward(const at::Tensor& d_embedded, const EmbeddingIds& ids, const Embeddings& embeddings) {
  // Threads share the columns, not the tokens: then each sum has one owner and one order.
  constexpr int64_t kColumnsPerThreadMin = 64;
  const int64_t columns = d_embedded.size(1);
  const int64_t tokens = d_embedded.size(0);
  const at::Tensor words = ids.words.contiguous();
  const at::Tensor positions = ids.positions.contiguous();
  const at::Tensor types = ids.token_types.defined() ? ids.token_types.contiguous() : at::Tensor();
  const Table word(embeddings.word.grad, words);
  const Table position(embeddings.position.grad, positions);
  std::optional<Table> token_type;
  if (types.defined()) token_type.emplace(embeddings.token_type.grad, types);
  WithType(d_embedded, [&](auto type) {
    using T = decltype(type);
    const Kernels<T>& kernels = KernelsFor(type);
    const T* d_rows = Data<T>(d_embedded);
    ParallelFor(columns, kColumnsPerThreadMin, [&](int64_t begin, int64_t end) {
      for (int64_t token = 0; token < tokens; ++token) {
        const T* d_row = d_rows + token * columns + begin;
        kernels.accumulate(d_row, end - begin, word.Row(token) + begin);
        kernels.accumulate(d_row, end - begin, position.Row(token) + begin);
        if (token_type) kernels.accumulate(d_row, end - begin, token_type->Row(token) + begin);
      }
      if (token_type) return;
      kernels.column_sums(d_rows + begin, columns, tokens, end - begin,
                          Data<float>(embeddings.token_type.grad) + begin);
    });
  });
}

}  // namespace bert::model::cpu
