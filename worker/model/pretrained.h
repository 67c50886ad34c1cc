// Model directories as Hugging Face lays them out: config.json + model.safetensors.
#ifndef BERT_WORKER_MODEL_PRETRAINED_H_
#define BERT_WORKER_MODEL_PRETRAINED_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/masked_lm.h"
#include "worker/model/model_config.h"

namespace bert::model {

// config.json of a `bert` (post-LN) or `megatron-bert` (pre-LN) model.
std::string ConfigJson(const ModelConfig& config);
// INVALID_ARGUMENT names file and field.
absl::StatusOr<ModelConfig> ReadConfig(const std::string& directory);

// Writes config.json and model.safetensors (fp32 from `master`, Hugging Face names) into an existing directory, each
// synced to disk. The caller makes the directory appear atomically.
absl::Status SavePretrained(MaskedLm& model, const std::string& directory);
// The same from a copy of the parameters: `master` is fp32 [n] on the CPU, laid out as `infos` say. Needs no model, so
// that a checkpoint can be written while the next step trains.
absl::Status SavePretrained(const ModelConfig& config, const std::vector<ParameterInfo>& infos,
                            const at::Tensor& master, const std::string& directory);

// Reads both; NOT_FOUND, DATA_LOSS (file and tensor named), INVALID_ARGUMENT (a shape that does not fit the config).
absl::StatusOr<std::unique_ptr<MaskedLm>> LoadPretrained(const std::string& directory, Precision precision,
                                                         at::Device device);
// Loads the weights into a model that exists; FAILED_PRECONDITION where its config differs (fields named).
absl::Status LoadWeights(const std::string& directory, MaskedLm& model);

}  // namespace bert::model

#endif  // BERT_WORKER_MODEL_PRETRAINED_H_
