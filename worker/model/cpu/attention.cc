// Attention segment by segment: no scores are computed across segments or on padding, so there is nothing to mask. Here
// the products run in fp32, on all heads of a segment whose scores fit the cache together; on matrix tiles those of
// bf16 are left to tile_attention.h.
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "common/check.h"
#include "worker/model/cpu/kernels.h"
#include "worker/model/cpu/operations.h"
#include "worker/model/cpu/parallel.h"
#include "worker/model/cpu/tile_attention.h"
#include "worker/model/cpu/typed.h"

namespace bert::model::cpu {
namespace {

// A megabyte of scores: half of the second-level cache of current server cores.
constexpr int64_t kScoresPerTaskMax = 256 * 1024;

// Some heads of one segment.
struct Task {
  AttentionPlan::Span span;
  int64_t first_head;
  int64_t heads;
};

std::vector<Task> MakeTasks(const AttentionPlan& plan) {
  std::vector<Task> tasks;
  for (const AttentionPlan::Span& span : plan.spans) {
    const int64_t together = std::clamp<int64_t>(kScoresPerTaskMax / (span.length * span.length), 1, plan.heads);
    for (int64_t head = 0; head < plan.heads; head += together) {
      tasks.push_back({span, head, std::min(together, plan.heads - head)});
    }
  }
  return tasks;
}

// [tokens, columns], zero on padding, which is in no task and must not carry what the memory held.
template <typename T>
at::Tensor Output(const AttentionPlan& plan, int64_t columns, const at::TensorOptions& options) {
  at::Tensor output = at::empty({plan.tokens, columns}, options);
  T* values = Data<T>(output);
  int64_t done = 0;
  const auto zero_up_to = [&](int64_t token) { std::fill(values + done * columns, values + token * columns, T()); };
  for (const AttentionPlan::Span& span : plan.spans) {
    zero_up_to(span.token);
    done = span.token + span.length;
  }
  zero_up_to(plan.tokens);
  return output;
}

// fp32 buffers for the largest task, made once per thread and pass. Matrices of tokens by heads [length, heads *
// head_size] are read as [heads, length, head_size] through their strides.
class Scratch {
 public:
  Scratch(const std::vector<Task>& tasks, int64_t begin, int64_t end, int64_t head_size, int token_buffers,
          int score_buffers)
      : head_size_(head_size) {
    int64_t tokens = 0;
    int64_t scores = 0;
    for (int64_t i = begin; i < end; ++i) {
      const Task& task = tasks[static_cast<size_t>(i)];
      tokens = std::max(tokens, task.span.length * task.heads * head_size);
      scores = std::max(scores, task.span.length * task.span.length * task.heads);
    }
    for (int i = 0; i < token_buffers; ++i) tokens_.push_back(at::empty({tokens}, at::kFloat));
    for (int i = 0; i < score_buffers; ++i) scores_.push_back(at::empty({scores}, at::kFloat));
  }

  float* tokens(int buffer) { return static_cast<float*>(tokens_[static_cast<size_t>(buffer)].data_ptr()); }
  float* scores(int buffer) { return static_cast<float*>(scores_[static_cast<size_t>(buffer)].data_ptr()); }

  at::Tensor Heads(int buffer, const Task& task) {
    return tokens_[static_cast<size_t>(buffer)].as_strided({task.heads, task.span.length, head_size_},
                                                           {head_size_, task.heads * head_size_, 1});
  }
  // A token buffer as [heads, length, head_size] without gaps: the form in which products are written.
  at::Tensor Product(int buffer, const Task& task) {
    return tokens_[static_cast<size_t>(buffer)].as_strided({task.heads, task.span.length, head_size_},
                                                           {task.span.length * head_size_, head_size_, 1});
  }
  at::Tensor Scores(int buffer, const Task& task) {
    const int64_t length = task.span.length;
    return scores_[static_cast<size_t>(buffer)].as_strided({task.heads, length, length}, {length * length, length, 1});
  }

 private:
  int64_t head_size_;
  std::vector<at::Tensor> tokens_;
  std::vector<at::Tensor> scores_;
};

// One pass over one batch: where things lie.
template <typename T>
class Pass {
 public:
  Pass(const AttentionPlan& plan, const Dropout& dropout, const T* query_key_value, const T* bias)
      : plan_(plan),
        dropout_(dropout),
        query_key_value_(query_key_value),
        bias_(bias),
        hidden_(plan.heads * plan.head_size) {}

  void Forward(const Task& task, Scratch& scratch, T* output, float* log_normalizer) const {
    for (int part = 0; part < 3; ++part) Unpack(task, part, scratch.tokens(part));
    at::Tensor scores = scratch.Scores(0, task);
    at::bmm_out(scores, scratch.Heads(kQuery, task), scratch.Heads(kKey, task).transpose(1, 2));
    for (int64_t head = 0; head < task.heads; ++head) {
      Softmax().forward(HeadArgs(task, head, scratch, log_normalizer));
    }
    at::Tensor product = scratch.Product(kProduct, task);
    at::bmm_out(product, scores, scratch.Heads(kValue, task));
    Pack(task, scratch.tokens(kProduct), output + FirstToken(task) * hidden_, hidden_);
  }

  void Backward(const Task& task, Scratch& scratch, const T* output, const T* d_output, const float* log_normalizer,
                T* d_query_key_value) const {
    for (int part = 0; part < 3; ++part) Unpack(task, part, scratch.tokens(part));
    UnpackTokens(task, output, scratch.tokens(kProduct));
    UnpackTokens(task, d_output, scratch.tokens(kGradient));
    const int64_t length = task.span.length;
    std::vector<float> inner(static_cast<size_t>(length * task.heads));
    Softmax().inner_products(scratch.tokens(kProduct), scratch.tokens(kGradient), length * task.heads, plan_.head_size,
                             inner.data());
    at::Tensor scores = scratch.Scores(0, task);
    at::Tensor d_scores = scratch.Scores(1, task);
    const at::Tensor query = scratch.Heads(kQuery, task);
    const at::Tensor key = scratch.Heads(kKey, task);
    const at::Tensor gradient = scratch.Heads(kGradient, task);
    at::bmm_out(scores, query, key.transpose(1, 2));
    at::bmm_out(d_scores, gradient, scratch.Heads(kValue, task).transpose(1, 2));
    for (int64_t head = 0; head < task.heads; ++head) {
      SoftmaxArgs args = HeadArgs(task, head, scratch, const_cast<float*>(log_normalizer));
      args.d_scores = scratch.scores(1) + head * length * length;
      args.inner = inner.data() + head;
      args.inner_stride = task.heads;
      Softmax().backward(args);
    }
    at::Tensor product = scratch.Product(kProduct, task);
    T* first = d_query_key_value + FirstToken(task) * 3 * hidden_;
    at::bmm_out(product, d_scores, key);
    Pack(task, scratch.tokens(kProduct), first, 3 * hidden_);
    at::bmm_out(product, d_scores.transpose(1, 2), query);
    Pack(task, scratch.tokens(kProduct), first + hidden_, 3 * hidden_);
    at::bmm_out(product, scores.transpose(1, 2), gradient);
    Pack(task, scratch.tokens(kProduct), first + 2 * hidden_, 3 * hidden_);
  }

  static constexpr int kForwardTokenBuffers = 4;
  static constexpr int kBackwardTokenBuffers = 5;

 private:
  static constexpr int kQuery = 0;
  static constexpr int kKey = 1;
  static constexpr int kValue = 2;
  static constexpr int kProduct = 3;
  static constexpr int kGradient = 4;

  int64_t FirstToken(const Task& task) const { return task.span.token; }

  // The task's columns of query, key or value, with the bias.
  void Unpack(const Task& task, int part, float* to) const {
    const int64_t column = part * hidden_ + task.first_head * plan_.head_size;
    const int64_t columns = task.heads * plan_.head_size;
    KernelsFor(T()).unpack(query_key_value_ + FirstToken(task) * 3 * hidden_ + column, 3 * hidden_, bias_ + column,
                           task.span.length, columns, to, columns);
  }

  void UnpackTokens(const Task& task, const T* from, float* to) const {
    const int64_t columns = task.heads * plan_.head_size;
    KernelsFor(T()).unpack(from + FirstToken(task) * hidden_ + task.first_head * plan_.head_size, hidden_, nullptr,
                           task.span.length, columns, to, columns);
  }

  // From [heads, length, head_size] to the task's columns of rows that are `stride` apart.
  void Pack(const Task& task, const float* from, T* to, int64_t stride) const {
    const int64_t length = task.span.length;
    for (int64_t head = 0; head < task.heads; ++head) {
      KernelsFor(T()).pack(from + head * length * plan_.head_size, plan_.head_size, length, plan_.head_size,
                           to + (task.first_head + head) * plan_.head_size, stride);
    }
  }

  SoftmaxArgs HeadArgs(const Task& task, int64_t head, Scratch& scratch, float* log_normalizer) const {
    const int64_t length = task.span.length;
    const int64_t first_row = (task.span.row * plan_.heads + task.first_head + head) * plan_.seq + task.span.begin;
    return {.rows = length,
            .columns = length,
            .stride = length,
            .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(plan_.head_size))),
            .dropout = dropout_,
            .element = static_cast<uint32_t>(first_row * plan_.seq + task.span.begin),
            .element_stride = static_cast<uint32_t>(plan_.seq),
            .scores = scratch.scores(0) + head * length * length,
            .log_normalizer = log_normalizer + first_row,
            .d_scores = nullptr,
            .inner = nullptr,
            .inner_stride = 0};
  }

  const AttentionPlan& plan_;
  const Dropout dropout_;
  const T* query_key_value_;
  const T* bias_;
  const int64_t hidden_;
};

}  // namespace

Attended Attention(const at::Tensor& query_key_value, const Weight& bias, const AttentionPlan& plan,
                   const Dropout& dropout) {
  const std::vector<Task> tasks = MakeTasks(plan);
  Attended attended;
  attended.log_normalizer = at::empty({plan.rows, plan.heads, plan.seq}, at::kFloat);
  WithType(query_key_value, [&](auto type) {
    using T = decltype(type);
    attended.output = Output<T>(plan, plan.heads * plan.head_size, query_key_value.options());
    if constexpr (std::is_same_v<T, Bf16>) {
      if (TileAttentionServes(plan)) {
        TileAttention({plan, dropout, Data<T>(query_key_value), Data<T>(bias.value)}, Data<T>(attended.output),
                      Data<float>(attended.log_normalizer));
        return;
      }
    }
    const Pass<T> pass(plan, dropout, Data<T>(query_key_value), Data<T>(bias.value));
    ParallelFor(static_cast<int64_t>(tasks.size()), 1, [&](int64_t begin, int64_t end) {
      at::AutoDispatchBelowADInplaceOrView no_autograd;  // Is per thread.
      Scratch scratch(tasks, begin, end, plan.head_size, Pass<T>::kForwardTokenBuffers, 1);
      for (int64_t i = begin; i < end; ++i) {
        pass.Forward(tasks[static_cast<size_t>(i)], scratch, Data<T>(attended.output),
                     Data<float>(attended.log_normalizer));
      }
    });
  });
  return attended;
}

at::Tensor AttentionBackward(const at::Tensor& d_output, const at::Tensor& query_key_value, const Weight& bias,
                             const Attended& attended, const AttentionPlan& plan, const Dropout& dropout) {
  const std::vector<Task> tasks = MakeTasks(plan);
  const int64_t columns = query_key_value.size(1);
  at::Tensor d_query_key_value;
  WithType(query_key_value, [&](auto type) {
    using T = decltype(type);
    d_query_key_value = Output<T>(plan, columns, query_key_value.options());
    const bool tiles = std::is_same_v<T, Bf16> && TileAttentionServes(plan);
    if constexpr (std::is_same_v<T, Bf16>) {
      if (tiles) {
        TileAttentionBackward({plan, dropout, Data<T>(query_key_value), Data<T>(bias.value)},
                              {Data<T>(attended.output), Data<T>(d_output), Data<float>(attended.log_normalizer)},
                              Data<T>(d_query_key_value));
      }
    }
    const Pass<T> pass(plan, dropout, Data<T>(query_key_value), Data<T>(bias.value));
    ParallelFor(tiles ? 0 : static_cast<int64_t>(tasks.size()), 1, [&](int64_t begin, int64_t end) {
      at::AutoDispatchBelowADInplaceOrView no_autograd;
      Scratch scratch(tasks, begin, end, plan.head_size, Pass<T>::kBackwardTokenBuffers, 2);
      for (int64_t i = begin; i < end; ++i) {
        pass.Backward(tasks[static_cast<size_t>(i)], scratch, Data<T>(attended.output), Data<T>(d_output),
                      Data<float>(attended.log_normalizer), Data<T>(d_query_key_value));
      }
    });
    ParallelSums(plan.tokens, columns, Data<float>(bias.grad), [&](int64_t begin, int64_t end, float* partial) {
      KernelsFor(type).column_sums(Data<T>(d_query_key_value) + begin * columns, columns, end - begin, columns,
                                   partial);
    });
  });
  return d_query_key_value;
}

}  // namespace bert::model::cpu
