// Runs one batch through a model directory and writes what came out: the C++ half of model_parity_test.py.
//
//   model_parity_tool MODEL_DIR INPUTS.safetensors OUTPUTS.safetensors [SAVE_DIR]
//
// Inputs are the tensors of MaskedBatch by name. Outputs: "logits", "nll" (of a forward and backward pass), "eval_nll",
// "correct", and "grad.<parameter>" for every parameter. With SAVE_DIR the model is also written there. With
// "next_sentence_labels", the mean over rows of that loss counts as much as the mean over masked tokens, and
// "next_sentence_logits", "next_sentence_nll", "next_sentence_eval_nll" and "next_sentence_correct" are there too.
#include <ATen/ops/scalar_tensor.h>

#include <cstdio>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "common/status_macros.h"
#include "worker/model/masked_lm.h"
#include "worker/model/pretrained.h"
#include "worker/model/safetensors.h"

namespace bert::model {
namespace {

absl::Status Run(const std::string& model_directory, const std::string& inputs_path, const std::string& outputs_path,
                 const std::string& save_directory) {
  ASSIGN_OR_RETURN(const std::unique_ptr<MaskedLm> model, LoadPretrained(model_directory, Precision::kFp32, at::kCPU));
  ASSIGN_OR_RETURN(const SafetensorsFile inputs, SafetensorsFile::Open(inputs_path));
  MaskedBatch batch;
  ASSIGN_OR_RETURN(batch.input_ids, inputs.Read("input_ids"));
  ASSIGN_OR_RETURN(batch.position_ids, inputs.Read("position_ids"));
  ASSIGN_OR_RETURN(batch.segments, inputs.Read("segments"));
  ASSIGN_OR_RETURN(batch.masked_positions, inputs.Read("masked_positions"));
  ASSIGN_OR_RETURN(batch.labels, inputs.Read("labels"));
  const bool pairs = inputs.entries().contains("next_sentence_labels");
  if (pairs) {
    ASSIGN_OR_RETURN(batch.token_type_ids, inputs.Read("token_type_ids"));
    ASSIGN_OR_RETURN(batch.next_sentence_labels, inputs.Read("next_sentence_labels"));
  }
  RETURN_IF_ERROR(ValidateBatch(batch, model->config()));

  std::vector<std::pair<std::string, at::Tensor>> outputs;
  outputs.emplace_back("logits", model->Logits(batch));
  const LossSums evaluated = model->Evaluate(batch);
  outputs.emplace_back("eval_nll", evaluated.nll);
  outputs.emplace_back("correct", at::scalar_tensor(evaluated.correct, at::kLong));
  model->parameters().ZeroGrad();
  const double weight = static_cast<double>(batch.labels.numel()) / static_cast<double>(batch.input_ids.size(0));
  const LossSums trained = model->ForwardBackward(batch, /*dropout_seed=*/0, weight);
  outputs.emplace_back("nll", trained.nll);
  if (pairs) {
    outputs.emplace_back("next_sentence_logits", model->NextSentenceLogits(batch));
    outputs.emplace_back("next_sentence_nll", trained.next_sentence.nll);
    outputs.emplace_back("next_sentence_eval_nll", evaluated.next_sentence.nll);
    outputs.emplace_back("next_sentence_correct", at::scalar_tensor(evaluated.next_sentence.correct, at::kLong));
  }
  const std::vector<ParameterInfo>& infos = model->parameters().infos();
  for (size_t i = 0; i < infos.size(); ++i) {
    outputs.emplace_back("grad." + infos[i].name, model->parameters().GradView(static_cast<int64_t>(i)));
  }
  RETURN_IF_ERROR(WriteSafetensors(outputs_path, outputs));
  if (!save_directory.empty()) RETURN_IF_ERROR(SavePretrained(*model, save_directory));
  return absl::OkStatus();
}

}  // namespace
}  // namespace bert::model

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) {
    std::fprintf(stderr, "usage: model_parity_tool MODEL_DIR INPUTS OUTPUTS [SAVE_DIR]\n");
    return 2;
  }
  try {
    const absl::Status status = bert::model::Run(argv[1], argv[2], argv[3], argc == 5 ? argv[4] : "");
    if (status.ok()) return 0;
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  return 1;
}
