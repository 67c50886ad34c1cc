#include "worker/model/cuda/operations.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <utility>

#include "worker/model/cuda/typed.h"
#include "worker/model/generic_operations.h"

namespace bert::model::cuda {
namespace {

constexpr int kNormThreads = 128;
constexpr int kElementThreads = 256;
constexpr int kColumnThreads = 256;
constexpr int kFoldThreads = 512;
constexpr int kLossThreads = 512;
constexpr int kScanThreads = 1024;
// Into how many blocks of rows sums over rows are cut, at most: enough to fill the largest device, few enough to fold.
constexpr int64_t kNormRowBlocks = 512;
constexpr int64_t kColumnRowBlocks = 128;

const Launcher* host_launcher = nullptr;

int64_t Parts(int64_t count, int64_t size) { return (count + size - 1) / size; }

// A multiple of the block's warps, which share the rows.
int64_t RowsPerBlock(int64_t rows, int64_t blocks_max, int threads) {
  const int64_t warps = threads / kWarp;
  return std::max<int64_t>(1, Parts(Parts(rows, blocks_max), warps)) * warps;
}

at::Tensor EmptyFloats(at::IntArrayRef sizes, const at::Tensor& like) {
  return at::empty(sizes, like.options().dtype(at::kFloat));
}

void Fold(const Launcher& launcher, const FoldArgs& args) {
  launcher.fold(args, {.blocks = Parts(int64_t{args.columns} * args.count, kWarp),
                       .threads = kFoldThreads,
                       .shared_bytes = kFoldThreads * int64_t{sizeof(float)}});
}

Grid TileGrid(int64_t columns, int64_t rows, int64_t rows_per_block) {
  return {.blocks = Parts(columns, kWarpColumns) * Parts(rows, rows_per_block),
          .threads = kColumnThreads,
          .shared_bytes = int64_t{kColumnThreads / kWarp} * kWarpColumns * int64_t{sizeof(float)}};
}

Grid ElementGrid(int64_t elements) {
  return {.blocks = Parts(elements, int64_t{kElementThreads} * kVector), .threads = kElementThreads, .shared_bytes = 0};
}

// table.grad[ids[t]] += d_rows[t].
void ScatterAdd(const Launcher& launcher, const at::Tensor& d_rows, const at::Tensor& ids, const Weight& table) {
  const auto [sorted_ids, order] = at::sort(ids.contiguous(), /*stable=*/true, /*dim=*/0, /*descending=*/false);
  const int64_t columns = d_rows.size(1);
  const int64_t chunks = Parts(d_rows.size(0), kScatterChunk);
  const at::Tensor edge = EmptyFloats({chunks, 2, columns}, d_rows);
  const at::Tensor edge_id = at::empty({chunks, 2}, ids.options());
  WithType(d_rows, [&](auto type) {
    using T = decltype(type);
    const ScatterArgs<T> args = {.tokens = d_rows.size(0),
                                 .columns = static_cast<int>(columns),
                                 .sorted_ids = sorted_ids.template const_data_ptr<int64_t>(),
                                 .order = order.template const_data_ptr<int64_t>(),
                                 .d_rows = Data<T>(d_rows),
                                 .table = Data<float>(table.grad),
                                 .edge = Data<float>(edge),
                                 .edge_id = edge_id.mutable_data_ptr<int64_t>()};
    const int64_t shares = chunks * Parts(columns, kWarpColumns);
    launcher.For(type).scatter(
        args, {.blocks = Parts(shares, kNormThreads / kWarp), .threads = kNormThreads, .shared_bytes = 0});
    launcher.For(type).scatter_edges(args, {.blocks = Parts(columns, kWarp), .threads = kWarp, .shared_bytes = 0});
  });
}

}  // namespace

const Launcher* HostLauncher() { return host_launcher; }
void SetHostLauncher(const Launcher* launcher) { host_launcher = launcher; }

const Launcher* LauncherFor(const at::Tensor& x) {
#ifdef BERT_CUDA
  if (x.is_cuda()) return &DeviceLauncher();
#endif
  return x.is_cpu() ? host_launcher : nullptr;
}

at::Tensor BiasGelu(const Launcher& launcher, const at::Tensor& x, const Weight& bias, Activation activation) {
  if (!Fit({&x, &bias.value})) return generic::BiasGelu(x, bias, activation);
  at::Tensor output = at::empty_like(x);
  WithType(x, [&](auto type) {
    using T = decltype(type);
    launcher.For(type).gelu_forward({.rows = x.size(0),
                                     .columns = static_cast<int>(x.size(1)),
                                     .x = Data<T>(x),
                                     .bias = Data<T>(bias.value),
                                     .tanh = activation == Activation::kGeluTanh,
                                     .d_output = nullptr,
                                     .output = Data<T>(output),
                                     .rows_per_block = 0,
                                     .partial = nullptr},
                                    ElementGrid(x.numel()));
  });
  return output;
}

at::Tensor BiasGeluBackward(const Launcher& launcher, at::Tensor d_output, const at::Tensor& x, const Weight& bias,
                            Activation activation) {
  if (!Fit({&d_output, &x, &bias.value})) {
    return generic::BiasGeluBackward(std::move(d_output), x, bias, activation);
  }
  const int64_t rows = x.size(0);
  const int64_t columns = x.size(1);
  const int64_t rows_per_block = RowsPerBlock(rows, kColumnRowBlocks, kColumnThreads);
  const int64_t parts = Parts(rows, rows_per_block);
  const at::Tensor partial = EmptyFloats({parts, columns}, x);
  WithType(x, [&](auto type) {
    using T = decltype(type);
    launcher.For(type).gelu_backward({.rows = rows,
                                      .columns = static_cast<int>(columns),
                                      .x = Data<T>(x),
                                      .bias = Data<T>(bias.value),
                                      .tanh = activation == Activation::kGeluTanh,
                                      .d_output = Data<T>(d_output),
                                      .output = Data<T>(d_output),
                                      .rows_per_block = rows_per_block,
                                      .partial = Data<float>(partial)},
                                     TileGrid(columns, rows, rows_per_block));
  });
  Fold(launcher, {.parts = parts,
                  .columns = static_cast<int>(columns),
                  .count = 1,
                  .stride = columns,
                  .partial = Data<float>(partial),
                  .grad = {Data<float>(bias.grad), nullptr, nullptr}});
  return d_output;
}

void ApplyDropout(const Launcher& launcher, at::Tensor& x, const Dropout& dropout) {
  if (!Fit({&x})) return generic::ApplyDropout(x, dropout);
  WithType(x, [&](auto type) {
    using T = decltype(type);
    launcher.For(type).dropout({.count = x.numel(), .x = Data<T>(x), .dropout = MaskOf(dropout)},
                               ElementGrid(x.numel()));
  });
}

Normed AddDropoutNorm(const Launcher& launcher, at::Tensor branch, const at::Tensor& residual, const NormSite& site) {
  const int64_t rows = branch.size(0);
  const int64_t columns = branch.size(1);
  const at::Tensor bias = site.bias == nullptr ? at::Tensor() : site.bias->value;
  if (columns > kNormColumnsMax ||
      !Fit({&branch, &residual, &bias, &site.norm->weight.value, &site.norm->bias.value})) {
    return generic::AddDropoutNorm(std::move(branch), residual, site);
  }
  Normed normed = {.sum = branch,
                   .output = at::empty_like(branch),
                   .mean = EmptyFloats({rows}, branch),
                   .rstd = EmptyFloats({rows}, branch)};
  WithType(branch, [&](auto type) {
    using T = decltype(type);
    launcher.For(type).norm_forward(
        {.rows = rows,
         .columns = static_cast<int>(columns),
         .sum = Data<T>(normed.sum),
         .bias = DataOrNull<T>(bias),
         .residual = DataOrNull<T>(residual),
         .dropout = MaskOf(site.dropout),
         .weight = Data<float>(site.norm->weight.value),
         .norm_bias = Data<float>(site.norm->bias.value),
         .eps = static_cast<float>(site.eps),
         .output = Data<T>(normed.output),
         .mean = Data<float>(normed.mean),
         .rstd = Data<float>(normed.rstd)},
        {.blocks = Parts(rows, kNormThreads / kWarp), .threads = kNormThreads, .shared_bytes = 0});
  });
  return normed;
}

NormedGrad AddDropoutNormBackward(const Launcher& launcher, const NormedInflow& inflow, const Normed& normed,
                                  const NormSite& site) {
  const int64_t rows = normed.sum.size(0);
  const int64_t columns = normed.sum.size(1);
  if (columns > kNormColumnsMax || !Fit({&inflow.d_output, &inflow.d_output_too, &inflow.d_sum, &normed.sum,
                                         &site.norm->weight.value, &site.norm->bias.value})) {
    return generic::AddDropoutNormBackward(inflow, normed, site);
  }
  NormedGrad grad;
  grad.d_sum = at::empty_like(normed.sum);
  grad.d_branch = site.dropout.active() ? at::empty_like(normed.sum) : grad.d_sum;
  const int64_t rows_per_block = RowsPerBlock(rows, kNormRowBlocks, kNormThreads);
  const int64_t parts = Parts(rows, rows_per_block);
  const at::Tensor partial = EmptyFloats({parts, 3, columns}, normed.sum);
  WithType(normed.sum, [&](auto type) {
    using T = decltype(type);
    launcher.For(type).norm_backward(
        {.rows = rows,
         .columns = static_cast<int>(columns),
         .rows_per_block = rows_per_block,
         .d_output = Data<T>(inflow.d_output),
         .d_output_too = DataOrNull<T>(inflow.d_output_too),
         .d_direct = DataOrNull<T>(inflow.d_sum),
         .sum = Data<T>(normed.sum),
         .mean = Data<float>(normed.mean),
         .rstd = Data<float>(normed.rstd),
         .weight = Data<float>(site.norm->weight.value),
         .dropout = MaskOf(site.dropout),
         .d_sum = Data<T>(grad.d_sum),
         .d_branch = site.dropout.active() ? Data<T>(grad.d_branch) : nullptr,
         .partial = Data<float>(partial)},
        {.blocks = parts,
         .threads = kNormThreads,
         .shared_bytes = int64_t{kNormThreads / kWarp} * columns * int64_t{sizeof(float)}});
  });
  Fold(launcher, {.parts = parts,
                  .columns = static_cast<int>(columns),
                  .count = 3,
                  .stride = 3 * columns,
                  .partial = Data<float>(partial),
                  .grad = {Data<float>(site.norm->weight.grad), Data<float>(site.norm->bias.grad),
                           site.bias == nullptr ? nullptr : Data<float>(site.bias->grad)}});
  return grad;
}

CrossEntropyResult CrossEntropy(const Launcher& launcher, at::Tensor logits, const Weight& bias,
                                const at::Tensor& labels, bool with_gradient) {
  if (!PaddedRowsFit(logits) || !labels.is_contiguous()) {
    return generic::CrossEntropy(std::move(logits), bias, labels, with_gradient);
  }
  const at::Tensor nll = EmptyFloats({logits.size(0)}, logits);
  WithType(logits, [&](auto type) {
    using T = decltype(type);
    launcher.For(type).cross_entropy({.rows = logits.size(0),
                                      .columns = static_cast<int>(logits.size(1)),
                                      .stride = logits.stride(0),
                                      .logits = Data<T>(logits),
                                      .bias = Data<T>(bias.value),
                                      .labels = labels.template const_data_ptr<int64_t>(),
                                      .nll = Data<float>(nll),
                                      .with_gradient = with_gradient},
                                     {.blocks = logits.size(0),
                                      .threads = kLossThreads,
                                      .shared_bytes = int64_t{kLossThreads / kWarp} * int64_t{sizeof(float)}});
  });
  CrossEntropyResult result;
  result.nll = at::sum(nll);
  if (!with_gradient) return result;
  AddColumnSums(launcher, logits, bias.grad);
  result.d_logits = std::move(logits);
  return result;
}

at::Tensor Embed(const Launcher& launcher, const EmbeddingIds& ids, const Embeddings& embeddings,
                 at::ScalarType dtype) {
  const at::Tensor& word = embeddings.word.value;
  const at::Tensor& position = embeddings.position.value;
  const at::Tensor& token_type = embeddings.token_type.value;
  if (!Fit({&word, &position, &token_type})) return generic::Embed(ids, embeddings, dtype);
  const at::Tensor words = ids.words.contiguous();
  const at::Tensor positions = ids.positions.contiguous();
  const at::Tensor token_types = ids.token_types.defined() ? ids.token_types.contiguous() : at::Tensor();
  at::Tensor output = at::empty({words.numel(), word.size(1)}, word.options().dtype(dtype));
  WithType(output, [&](auto type) {
    using T = decltype(type);
    launcher.For(type).embed(
        {.tokens = words.numel(),
         .columns = static_cast<int>(word.size(1)),
         .tables = 3,
         .table = {Data<float>(word), Data<float>(position), Data<float>(token_type)},
         .ids = {words.template const_data_ptr<int64_t>(), positions.template const_data_ptr<int64_t>(),
                 token_types.defined() ? token_types.template const_data_ptr<int64_t>() : nullptr},
         .output = Data<T>(output)},
        {.blocks = Parts(words.numel(), kNormThreads / kWarp), .threads = kNormThreads, .shared_bytes = 0});
  });
  return output;
}

void EmbedBackward(const Launcher& launcher, const at::Tensor& d_embedded, const EmbeddingIds& ids,
                   const Embeddings& embeddings) {
  if (!Fit({&d_embedded, &embeddings.word.grad, &embeddings.position.grad, &embeddings.token_type.grad})) {
    return generic::EmbedBackward(d_embedded, ids, embeddings);
  }
  ScatterAdd(launcher, d_embedded, ids.words, embeddings.word);
  ScatterAdd(launcher, d_embedded, ids.positions, embeddings.position);
  if (ids.token_types.defined()) {
    ScatterAdd(launcher, d_embedded, ids.token_types, embeddings.token_type);
  } else {
    AddColumnSums(launcher, d_embedded, embeddings.token_type.grad[0]);
  }
}

void AddColumnSums(const Launcher& launcher, const at::Tensor& x, const at::Tensor& grad) {
  BERT_CHECK(PaddedRowsFit(x)) << "a matrix that the kernels cannot read";
  const int64_t rows = x.size(0);
  const int64_t padded = Parts(x.size(1), kVector) * kVector;
  const int64_t rows_per_block = RowsPerBlock(rows, kColumnRowBlocks, kColumnThreads);
  const int64_t parts = Parts(rows, rows_per_block);
  const at::Tensor partial = EmptyFloats({parts, padded}, x);
  WithType(x, [&](auto type) {
    using T = decltype(type);
    launcher.For(type).column_sums({.rows = rows,
                                    .columns = static_cast<int>(padded),
                                    .parts = 1,
                                    .x = {Data<T>(x), nullptr, nullptr},
                                    .stride = x.stride(0),
                                    .copy = nullptr,
                                    .rows_per_block = rows_per_block,
                                    .partial = Data<float>(partial)},
                                   TileGrid(padded, rows, rows_per_block));
  });
  Fold(launcher, {.parts = parts,
                  .columns = static_cast<int>(x.size(1)),
                  .count = 1,
                  .stride = padded,
                  .partial = Data<float>(partial),
                  .grad = {Data<float>(grad), nullptr, nullptr}});
}

at::Tensor JoinColumns(const Launcher& launcher, const std::vector<at::Tensor>& parts_in, const at::Tensor& grad) {
  BERT_CHECK(!parts_in.empty() && parts_in.size() <= 3) << parts_in.size() << " matrices";
  const at::Tensor& first = parts_in[0];
  const int64_t rows = first.size(0);
  const int64_t columns = first.size(1);
  const int64_t all = columns * static_cast<int64_t>(parts_in.size());
  const int64_t rows_per_block = RowsPerBlock(rows, kColumnRowBlocks, kColumnThreads);
  const int64_t parts = Parts(rows, rows_per_block);
  const at::Tensor partial = EmptyFloats({parts, all}, first);
  at::Tensor joined = at::empty({rows, all}, first.options());
  WithType(first, [&](auto type) {
    using T = decltype(type);
    ColumnSumArgs<T> args = {.rows = rows,
                             .columns = static_cast<int>(columns),
                             .parts = static_cast<int>(parts_in.size()),
                             .x = {},
                             .stride = first.stride(0),
                             .copy = Data<T>(joined),
                             .rows_per_block = rows_per_block,
                             .partial = Data<float>(partial)};
    for (size_t i = 0; i < parts_in.size(); ++i) {
      BERT_CHECK(parts_in[i].strides() == first.strides() && PaddedRowsFit(parts_in[i]) && columns % kVector == 0)
          << "matrices that the kernels cannot read";
      args.x[i] = Data<T>(parts_in[i]);
    }
    launcher.For(type).column_sums(args, TileGrid(all, rows, rows_per_block));
  });
  Fold(launcher, {.parts = parts,
                  .columns = static_cast<int>(all),
                  .count = 1,
                  .stride = all,
                  .partial = Data<float>(partial),
                  .grad = {Data<float>(grad), nullptr, nullptr}});
  return joined;
}

at::Tensor SegmentStarts(const Launcher& launcher, const at::Tensor& segments, int64_t capacity) {
  BERT_CHECK(segments.dim() == 2 && segments.is_contiguous()) << "segments are no contiguous matrix";
  at::Tensor starts = at::empty({capacity + 1}, segments.options());
  launcher.segment_starts({.tokens = segments.numel(),
                           .seq = segments.size(1),
                           .segments = segments.const_data_ptr<int32_t>(),
                           .starts = starts.mutable_data_ptr<int32_t>(),
                           .capacity = capacity},
                          {.blocks = 1, .threads = kScanThreads, .shared_bytes = kScanThreads * int64_t{4}});
  return starts;
}

}  // namespace bert::model::cuda
