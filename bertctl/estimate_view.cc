#include "bertctl/estimate_view.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "absl/strings/str_join.h"

namespace bert::ctl {
namespace {

// Decimal units, as memory is bought.
std::string Bytes(double bytes) {
  return bytes >= 1e9 ? fmt::format("{:.2f} GB", bytes / 1e9) : fmt::format("{:.0f} MB", bytes / 1e6);
}

std::string Parts(const estimate::MemoryEstimate& memory) {
  const std::vector<std::pair<const char*, double>> parts = {
      {"weights", memory.weights}, {"bf16 copies", memory.bf16_copies}, {"gradients", memory.gradients},
      {"moments", memory.moments}, {"checkpoint", memory.checkpoint},   {"activations", memory.activations},
      {"logits", memory.logits},   {"program", memory.runtime}};
  std::vector<std::string> texts;
  for (const auto& [name, bytes] : parts) {
    if (bytes > 0) texts.push_back(fmt::format("{} {}", name, Bytes(bytes)));
  }
  return absl::StrJoin(texts, ", ");
}

}  // namespace

estimate::JobShape ShapeOf(const v1::JobSpec& spec, const EstimateOptions& options) {
  const v1::ModelSpec& model = spec.model();
  return {.model = {.vocab_size = options.vocab_size,
                    .hidden_size = model.hidden_size(),
                    .num_hidden_layers = model.num_hidden_layers(),
                    .num_attention_heads = model.num_attention_heads(),
                    .intermediate_size = model.intermediate_size(),
                    .max_position_embeddings = model.max_position_embeddings(),
                    .type_vocab_size = model.type_vocab_size()},
          .bf16 = spec.train().precision() == v1::PRECISION_BF16,
          .max_seq_len = spec.data().max_seq_len(),
          .global_batch_size = spec.train().global_batch_size(),
          .micro_batch_size = spec.train().micro_batch_size(),
          .world_size = spec.workers().max(),
          .lanes = spec.deterministic() ? spec.workers().max() : 0,
          .masked_share = spec.data().masking().probability()};
}

std::string EstimateText(const v1::JobSpec& spec, const EstimateOptions& options) {
  const estimate::JobShape job = ShapeOf(spec, options);
  const estimate::MemoryEstimate memory = estimate::EstimateMemory(job);
  const double flops = estimate::StepFlops(job);
  std::string text = fmt::format("estimate: {} on rank 0 ({}) with {} tokens in the vocabulary; {:.3g} TFLOP",
                                 Bytes(memory.total()), Parts(memory), options.vocab_size, flops / 1e12);
  if (options.device_tflops <= 0) return text + " a step (--device-tflops gives its time)";
  const double seconds = estimate::EstimateStepSeconds(
      job, {.flops = options.device_tflops * 1e12, .bytes_per_second = options.device_gbytes_per_second * 1e9});
  return text + fmt::format(", {:.4g} s a step on {} rank{}", seconds, job.world_size, job.world_size == 1 ? "" : "s");
}

}  // namespace bert::ctl
