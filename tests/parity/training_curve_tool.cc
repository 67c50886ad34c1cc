// Trains a model directory on given batches and prints the loss of every step: the C++ half of training_curve_test.py.
//
//   training_curve_tool MODEL_DIR INPUTS.safetensors fp32|bf16 MICRO_BATCHES
//
// Inputs are the tensors of MaskedBatch by name, each with a dimension in front for the steps, and "learning_rates",
// fp64 [steps]. The rows of a step are cut into so many micro-batches, whose gradients add up. AdamW as by default,
// with gradients clipped to a norm of 1.
#include <ATen/TensorOperators.h>
#include <ATen/ops/masked_select.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "common/status_macros.h"
#include "worker/model/masked_lm.h"
#include "worker/model/pretrained.h"
#include "worker/model/safetensors.h"
#include "worker/trainer/adamw.h"

namespace bert::trainer {
namespace {

constexpr double kGradNormMax = 1.0;

// Rows [begin, end) of a batch.
model::MaskedBatch Rows(const model::MaskedBatch& batch, int64_t begin, int64_t end) {
  const int64_t seq = batch.input_ids.size(1);
  const at::Tensor inside = batch.masked_positions.ge(begin * seq).logical_and(batch.masked_positions.lt(end * seq));
  model::MaskedBatch rows;
  rows.input_ids = batch.input_ids.slice(0, begin, end);
  rows.position_ids = batch.position_ids.slice(0, begin, end);
  rows.segments = batch.segments.slice(0, begin, end);
  rows.masked_positions = at::masked_select(batch.masked_positions, inside) - begin * seq;
  rows.labels = at::masked_select(batch.labels, inside);
  if (batch.next_sentence_labels.defined()) {
    rows.token_type_ids = batch.token_type_ids.slice(0, begin, end);
    rows.next_sentence_labels = batch.next_sentence_labels.slice(0, begin, end);
  }
  return rows;
}

absl::Status Run(const std::string& model_directory, const std::string& inputs_path, model::Precision precision,
                 int64_t micro_batches) {
  ASSIGN_OR_RETURN(const std::unique_ptr<model::MaskedLm> model,
                   model::LoadPretrained(model_directory, precision, at::kCPU));
  ASSIGN_OR_RETURN(const model::SafetensorsFile inputs, model::SafetensorsFile::Open(inputs_path));
  model::MaskedBatch steps;
  ASSIGN_OR_RETURN(steps.input_ids, inputs.Read("input_ids"));
  ASSIGN_OR_RETURN(steps.position_ids, inputs.Read("position_ids"));
  ASSIGN_OR_RETURN(steps.segments, inputs.Read("segments"));
  ASSIGN_OR_RETURN(steps.masked_positions, inputs.Read("masked_positions"));
  ASSIGN_OR_RETURN(steps.labels, inputs.Read("labels"));
  ASSIGN_OR_RETURN(const at::Tensor learning_rates, inputs.Read("learning_rates"));
  const bool pairs = inputs.entries().contains("next_sentence_labels");
  if (pairs) {
    ASSIGN_OR_RETURN(steps.token_type_ids, inputs.Read("token_type_ids"));
    ASSIGN_OR_RETURN(steps.next_sentence_labels, inputs.Read("next_sentence_labels"));
  }
  AdamW optimizer(&model->parameters(), {});
  for (int64_t step = 0; step < learning_rates.size(0); ++step) {
    model::MaskedBatch batch;
    batch.input_ids = steps.input_ids[step];
    batch.position_ids = steps.position_ids[step];
    batch.segments = steps.segments[step];
    batch.masked_positions = steps.masked_positions[step];
    batch.labels = steps.labels[step];
    if (pairs) {
      batch.token_type_ids = steps.token_type_ids[step];
      batch.next_sentence_labels = steps.next_sentence_labels[step];
    }
    RETURN_IF_ERROR(ValidateBatch(batch, model->config()));
    const int64_t rows = batch.input_ids.size(0);
    const auto masked = static_cast<double>(batch.labels.size(0));
    double loss = 0;
    model->parameters().ZeroGrad();
    for (int64_t i = 0; i < micro_batches; ++i) {
      const model::LossSums sums =
          model->ForwardBackward(Rows(batch, rows * i / micro_batches, rows * (i + 1) / micro_batches),
                                 /*dropout_seed=*/0, masked / static_cast<double>(rows));
      loss += sums.nll.item<double>() / masked;
      if (pairs) loss += sums.next_sentence.nll.item<double>() / static_cast<double>(rows);
    }
    const double norm = GradientNorm(model->parameters().grad()) / masked;
    const double scale = norm > kGradNormMax ? kGradNormMax / norm : 1.0;
    optimizer.Step(
        {.step = step + 1, .learning_rate = learning_rates[step].item<double>(), .gradient_scale = scale / masked});
    std::printf("%.9g\n", loss);
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace bert::trainer

int main(int argc, char** argv) {
  const std::string precision = argc == 5 ? argv[3] : "";
  if (precision != "fp32" && precision != "bf16") {
    std::fprintf(stderr, "usage: training_curve_tool MODEL_DIR INPUTS fp32|bf16 MICRO_BATCHES\n");
    return 2;
  }
  using bert::model::Precision;
  try {
    const absl::Status status = bert::trainer::Run(
        argv[1], argv[2], precision == "fp32" ? Precision::kFp32 : Precision::kBf16, std::atoi(argv[4]));
    if (status.ok()) return 0;
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  return 1;
}
