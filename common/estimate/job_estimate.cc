#include "common/estimate/job_estimate.h"

#include <algorithm>

namespace bert::estimate {
namespace {

constexpr double kFp32 = 4;
constexpr double kBf16 = 2;

// These were fitted to measurements; docs/performance.md ("Estimates") tells which and how near they come.
// A trainer without its model, with the libraries' own buffers.
constexpr double kRuntimeBytes = 320e6;
// Of what an allocator is asked for, held all the same: freed buffers of other sizes.
constexpr double kHeldShare = 0.1;
// Of the device's rate for large squares, what the model's products reach.
constexpr double kProductShare = 0.97;
// How often each activation is read or written by what is no product, forward and backward.
constexpr double kActivationPasses = 5;
constexpr double kProbabilityPasses = 16;
constexpr double kLogitPasses = 7.5;
// A step's fp32 passes over the parameters: gradients are zeroed, summed and read, master and moments read and written.
constexpr double kParameterPasses = 10;

double ElementBytes(const JobShape& job) { return job.bf16 ? kBf16 : kFp32; }

double MaskedTokens(const JobShape& job, double rows) {
  return rows * static_cast<double>(job.max_seq_len) * job.masked_share;
}

// For the backward pass, of one token in one layer: query, key and value; the attention's output; sum and output of
// both LayerNorms; the feed-forward layer before and after its activation.
double ElementsPerTokenAndLayer(const ModelShape& model) {
  return static_cast<double>(8 * model.hidden_size + 2 * model.intermediate_size);
}

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

MemoryEstimate EstimateMemory(const JobShape& job) {
  const auto parameters = static_cast<double>(ParameterCount(job.model));
  const int64_t rank_rows = DivideUp(job.global_batch_size, job.world_size);
  const auto rows = static_cast<double>(std::min(job.micro_batch_size, rank_rows));
  const double tokens = rows * static_cast<double>(job.max_seq_len);
  const auto layers = static_cast<double>(job.model.num_hidden_layers);
  const auto lanes = static_cast<double>(job.lanes == 0 ? 0 : DivideUp(job.lanes, job.world_size));
  MemoryEstimate memory;
  memory.weights = kFp32 * parameters;
  memory.bf16_copies = job.bf16 ? kBf16 * parameters : 0;
  memory.gradients = kFp32 * parameters * (1 + lanes);
  memory.moments = 2 * kFp32 * parameters;
  memory.checkpoint = 3 * kFp32 * parameters;
  memory.activations = (1 + kHeldShare) * tokens * layers * ElementsPerTokenAndLayer(job.model) * ElementBytes(job);
  memory.logits = MaskedTokens(job, rows) * static_cast<double>(job.model.vocab_size) * ElementBytes(job);
  memory.runtime = kRuntimeBytes;
  return memory;
}

double StepFlops(const JobShape& job) {
  const auto rows = static_cast<double>(job.global_batch_size);
  return TrainFlops(
      job.model,
      {.rows = rows, .tokens = rows * static_cast<double>(job.max_seq_len), .masked_tokens = MaskedTokens(job, rows)});
}

double EstimateStepSeconds(const JobShape& job, const DeviceRates& device) {
  const auto parameters = static_cast<double>(ParameterCount(job.model));
  const auto rows = static_cast<double>(DivideUp(job.global_batch_size, job.world_size));
  const double tokens = rows * static_cast<double>(job.max_seq_len);
  const auto layers = static_cast<double>(job.model.num_hidden_layers);
  const double share = rows / static_cast<double>(job.global_batch_size);
  const double activations = tokens * layers * ElementsPerTokenAndLayer(job.model) * ElementBytes(job);
  const double probabilities =
      tokens * layers * static_cast<double>(job.max_seq_len * job.model.num_attention_heads) * kFp32;
  const double logits = MaskedTokens(job, rows) * static_cast<double>(job.model.vocab_size) * ElementBytes(job);
  const double optimizer = parameters * (kParameterPasses * kFp32 + (job.bf16 ? kBf16 : 0));
  const double bytes =
      kActivationPasses * activations + kProbabilityPasses * probabilities + kLogitPasses * logits + optimizer;
  return StepFlops(job) * share / (kProductShare * device.flops) + bytes / device.bytes_per_second;
}

}  // namespace bert::estimate
