#include "worker/model/cpu/tile_attention.h"

#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "worker/model/cpu/parallel.h"
#include "worker/model/cpu/tiles.h"
#include "worker/model/cpu/weight_gradient.h"

namespace bert::model::cpu {
namespace {

// Lengths are rounded up to it, so that few different kernels have to be generated.
constexpr int64_t kTile = 32;

int64_t Padded(int64_t length) { return (length + kTile - 1) / kTile * kTile; }

// c [rows, columns] = a [rows, depth] times b [depth, columns], whose rows are interleaved. No gaps.
void Product(int64_t rows, int64_t columns, int64_t depth, const std::vector<Bf16>& a, const std::vector<uint32_t>& b,
             std::vector<float>& c) {
  at::native::cpublas::brgemm(rows, columns, depth, depth, columns, columns, /*add_C=*/false,
                              reinterpret_cast<const c10::BFloat16*>(a.data()),
                              reinterpret_cast<const c10::BFloat16*>(b.data()), c.data());
}

// One head of one segment of L tokens, with its buffers; made once per thread and pass. All matrices are padded with
// zeros to P = Padded(L) tokens.
class Head {
 public:
  Head(const TileAttentionInput& input, int64_t length_max)
      : plan_(input.plan),
        input_(input),
        size_(input.plan.head_size),
        hidden_(input.plan.heads * input.plan.head_size),
        tokens_(static_cast<size_t>(length_max * size_)),
        tokens_too_(tokens_.size()),
        inner_(static_cast<size_t>(length_max)) {}

  // The span-th segment's head of that number.
  void MoveTo(const AttentionPlan::Span& span, int64_t head) {
    span_ = span;
    head_ = head;
    padded_ = Padded(span.length);
  }

  void Forward(Bf16* output, float* log_normalizer) {
    Load(kQuery, query_);
    Load(kKey, key_);
    Load(kValue, value_);
    Scores(query_, key_, scores_);
    Softmax().forward(Arguments(log_normalizer));
    Round(scores_, rounded_);
    Interleave(value_, right_);
    Multiply(rounded_, right_, output + span_.token * hidden_, hidden_);
  }

  void Backward(const TileAttended& attended, Bf16* d_query_key_value) {
    Load(kQuery, query_);
    Load(kKey, key_);
    Load(kValue, value_);
    const int64_t first = span_.token * hidden_ + head_ * size_;
    Unpack(attended.output + first, hidden_, nullptr, tokens_too_);
    Unpack(attended.d_output + first, hidden_, nullptr, tokens_);
    Softmax().inner_products(tokens_too_.data(), tokens_.data(), span_.length, size_, inner_.data());
    Pack(gradient_);
    Scores(query_, key_, scores_);
    Scores(gradient_, value_, d_scores_);
    SoftmaxArgs args = Arguments(const_cast<float*>(attended.log_normalizer));
    args.d_scores = d_scores_.data();
    args.inner = inner_.data();
    args.inner_stride = 1;
    Softmax().backward(args);

    Bf16* d = d_query_key_value + span_.token * 3 * hidden_;
    Round(d_scores_, rounded_);
    Interleave(key_, right_);
    Multiply(rounded_, right_, d + kQuery * hidden_, 3 * hidden_);
    Transpose(rounded_, transposed_);
    Interleave(query_, right_);
    Multiply(transposed_, right_, d + kKey * hidden_, 3 * hidden_);
    Round(scores_, rounded_);
    Transpose(rounded_, transposed_);
    Interleave(gradient_, right_);
    Multiply(transposed_, right_, d + kValue * hidden_, 3 * hidden_);
  }

 private:
  static constexpr int64_t kQuery = 0;
  static constexpr int64_t kKey = 1;
  static constexpr int64_t kValue = 2;

  static const Kernels<Bf16>& Rows() { return KernelsFor(Bf16()); }

  void Unpack(const Bf16* from, int64_t stride, const Bf16* bias, std::vector<float>& to) const {
    Rows().unpack(from, stride, bias, span_.length, size_, to.data(), size_);
  }

  // tokens_ [L, size] to bf16 [P, size].
  void Pack(std::vector<Bf16>& to) const {
    to.resize(static_cast<size_t>(padded_ * size_));
    Rows().pack(tokens_.data(), size_, span_.length, size_, to.data(), size_);
    std::fill(to.begin() + span_.length * size_, to.end(), Bf16());
  }

  // This head's columns of query, key or value, with the bias.
  void Load(int64_t part, std::vector<Bf16>& to) {
    const int64_t column = part * hidden_ + head_ * size_;
    Unpack(input_.query_key_value + span_.token * 3 * hidden_ + column, 3 * hidden_, input_.bias + column, tokens_);
    Pack(to);
  }

  // Of [P, size], as a right factor.
  void Interleave(const std::vector<Bf16>& from, std::vector<uint32_t>& to) const {
    to.resize(static_cast<size_t>(padded_ / 2 * size_));
    Tiles().interleave({from.data(), size_, padded_, size_}, padded_, to.data(), size_);
  }

  // Of [P, P].
  void Transpose(const std::vector<Bf16>& from, std::vector<Bf16>& to) const {
    to.resize(static_cast<size_t>(padded_ * padded_));
    Tiles().transpose({from.data(), padded_, padded_, padded_}, padded_, to.data(), padded_);
  }

  // [P, P] = left times right^T, both [P, size].
  void Scores(const std::vector<Bf16>& left, const std::vector<Bf16>& right, std::vector<float>& scores) {
    transposed_.resize(static_cast<size_t>(size_ * padded_));
    Tiles().transpose({right.data(), size_, padded_, size_}, padded_, transposed_.data(), padded_);
    right_.resize(static_cast<size_t>(size_ / 2 * padded_));
    Tiles().interleave({transposed_.data(), padded_, size_, padded_}, size_, right_.data(), padded_);
    scores.resize(static_cast<size_t>(padded_ * padded_));
    Product(padded_, padded_, size_, left, right_, scores);
  }

  // The [L, L] of scores [P, P], as a left factor with zeros around it.
  void Round(const std::vector<float>& scores, std::vector<Bf16>& to) const {
    to.assign(static_cast<size_t>(padded_ * padded_), Bf16());
    Rows().pack(scores.data(), padded_, span_.length, span_.length, to.data(), padded_);
  }

  // left [P, P] times right [P, size] to this head's columns of the segment's rows, which are `stride` apart.
  void Multiply(const std::vector<Bf16>& left, const std::vector<uint32_t>& right, Bf16* to, int64_t stride) {
    product_.resize(static_cast<size_t>(padded_ * size_));
    Product(padded_, size_, padded_, left, right, product_);
    Rows().pack(product_.data(), size_, span_.length, size_, to + head_ * size_, stride);
  }

  SoftmaxArgs Arguments(float* log_normalizer) {
    const int64_t first_row = (span_.row * plan_.heads + head_) * plan_.seq + span_.begin;
    return {.rows = span_.length,
            .columns = span_.length,
            .stride = padded_,
            .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(size_))),
            .dropout = input_.dropout,
            .element = static_cast<uint32_t>(first_row * plan_.seq + span_.begin),
            .element_stride = static_cast<uint32_t>(plan_.seq),
            .scores = scores_.data(),
            .log_normalizer = log_normalizer + first_row,
            .d_scores = nullptr,
            .inner = nullptr,
            .inner_stride = 0};
  }

  const AttentionPlan& plan_;
  const TileAttentionInput& input_;
  const int64_t size_;
  const int64_t hidden_;
  AttentionPlan::Span span_;
  int64_t head_ = 0;
  int64_t padded_ = 0;
  std::vector<float> tokens_;  // [L, size]
  std::vector<float> tokens_too_;
  std::vector<float> inner_;    // [L]
  std::vector<float> product_;  // [P, size]
  std::vector<float> scores_;   // [P, P], as the next.
  std::vector<float> d_scores_;
  std::vector<Bf16> query_;  // [P, size], as the next.
  std::vector<Bf16> key_;
  std::vector<Bf16> value_;
  std::vector<Bf16> gradient_;
  std::vector<Bf16> rounded_;
  std::vector<Bf16> transposed_;
  std::vector<uint32_t> right_;
};

// Calls work(head) for every head of every segment.
template <typename Work>
void ForEachHead(const TileAttentionInput& input, Work work) {
  const AttentionPlan& plan = input.plan;
  int64_t length_max = 0;
  for (const AttentionPlan::Span& span : plan.spans) length_max = std::max(length_max, span.length);
  ParallelFor(static_cast<int64_t>(plan.spans.size()) * plan.heads, 1, [&](int64_t begin, int64_t end) {
    Head head(input, length_max);
    for (int64_t i = begin; i < end; ++i) {
      head.MoveTo(plan.spans[static_cast<size_t>(i / plan.heads)], i % plan.heads);
      work(head);
    }
    at::native::cpublas::brgemm_release();
  });
}

}  // namespace

bool TileAttentionServes(const AttentionPlan& plan) { return HasTiles() && plan.head_size % kTile == 0; }

void TileAttention(const TileAttentionInput& input, Bf16* output, float* log_normalizer) {
  ForEachHead(input, [&](Head& head) { head.Forward(output, log_normalizer); });
}

void TileAttentionBackward(const TileAttentionInput& input, const TileAttended& attended, Bf16* d_query_key_value) {
  ForEachHead(input, [&](Head& head) { head.Backward(attended, d_query_key_value); });
}

}  // namespace bert::model::cpu
