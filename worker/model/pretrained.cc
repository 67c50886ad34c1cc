#include "worker/model/pretrained.h"

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "worker/model/safetensors.h"

namespace bert::model {
namespace {

constexpr char kConfigFile[] = "config.json";
constexpr char kWeightsFile[] = "model.safetensors";
// How the names of Hugging Face's classes with a next-sentence head end.
constexpr char kPreTraining[] = "ForPreTraining";

std::string Join(const std::string& directory, const char* file) { return absl::StrCat(directory, "/", file); }

// Reads typed fields of one JSON object and remembers the first that does not fit.
class FieldReader {
 public:
  FieldReader(const nlohmann::json& json, const std::string& path) : json_(json), path_(path) {}

  int64_t Integer(const char* field, std::optional<int64_t> fallback = std::nullopt) {
    return Get<int64_t>(field, fallback, "a whole number",
                        [](const nlohmann::json& value) { return value.is_number_integer(); });
  }
  double Number(const char* field, std::optional<double> fallback) {
    return Get<double>(field, fallback, "a number", [](const nlohmann::json& value) { return value.is_number(); });
  }
  std::string Text(const char* field, std::optional<std::string> fallback) {
    return Get<std::string>(field, std::move(fallback), "a string",
                            [](const nlohmann::json& value) { return value.is_string(); });
  }
  bool Flag(const char* field, bool fallback) {
    return Get<bool>(field, fallback, "true or false", [](const nlohmann::json& value) { return value.is_boolean(); });
  }
  const absl::Status& status() const { return status_; }

 private:
  template <typename T, typename Fits>
  T Get(const char* field, std::optional<T> fallback, const char* what, Fits fits) {
    const auto found = json_.find(field);
    if (found != json_.end() && fits(*found)) return found->get<T>();
    if (found == json_.end() && fallback) return *std::move(fallback);
    status_.Update(absl::InvalidArgumentError(
        found == json_.end() ? absl::StrCat(path_, ": ", field, " is missing")
                             : absl::StrCat(path_, ": ", field, " is ", found->dump(), ", not ", what)));
    return T();
  }

  const nlohmann::json& json_;
  const std::string& path_;
  absl::Status status_;
};

absl::StatusOr<NormPlacement> NormOf(const std::string& model_type) {
  if (model_type == "bert") return NormPlacement::kPostLn;
  if (model_type == "megatron-bert") return NormPlacement::kPreLn;
  return absl::InvalidArgumentError(
      absl::StrCat("model_type is '", model_type, "'; it takes bert (post-LN) or megatron-bert (pre-LN)"));
}

absl::StatusOr<Activation> ActivationOf(const std::string& hidden_act) {
  if (hidden_act == "gelu") return Activation::kGelu;
  if (hidden_act == "gelu_pytorch_tanh" || hidden_act == "gelu_new") return Activation::kGeluTanh;
  return absl::InvalidArgumentError(
      absl::StrCat("hidden_act is '", hidden_act, "'; it takes gelu, gelu_pytorch_tanh or gelu_new"));
}

// Files of other tools may name no class, or several.
bool HasNextSentenceHead(const nlohmann::json& config) {
  const auto names = config.find("architectures");
  if (names == config.end() || !names->is_array()) return false;
  return std::any_of(names->begin(), names->end(), [](const nlohmann::json& name) {
    return name.is_string() && name.get<std::string>().ends_with(kPreTraining);
  });
}

absl::Status Prefixed(const absl::Status& status, const std::string& path) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

// The names of the fields that decide which tensors exist, where two configs differ.
std::vector<std::string> Differences(const ModelConfig& file, const ModelConfig& model) {
  std::vector<std::string> differences;
  const auto compare = [&](const char* field, auto in_file, auto in_model) {
    if (in_file != in_model) differences.push_back(absl::StrCat(field, " ", in_file, " (model: ", in_model, ")"));
  };
  compare("pre_ln", file.norm == NormPlacement::kPreLn, model.norm == NormPlacement::kPreLn);
  compare("gelu_tanh", file.activation == Activation::kGeluTanh, model.activation == Activation::kGeluTanh);
  compare("vocab_size", file.vocab_size, model.vocab_size);
  compare("hidden_size", file.hidden_size, model.hidden_size);
  compare("num_hidden_layers", file.num_hidden_layers, model.num_hidden_layers);
  compare("num_attention_heads", file.num_attention_heads, model.num_attention_heads);
  compare("intermediate_size", file.intermediate_size, model.intermediate_size);
  compare("max_position_embeddings", file.max_position_embeddings, model.max_position_embeddings);
  compare("type_vocab_size", file.type_vocab_size, model.type_vocab_size);
  compare("next_sentence", file.next_sentence, model.next_sentence);
  compare("layer_norm_eps", file.layer_norm_eps, model.layer_norm_eps);
  return differences;
}

absl::Status ReadWeights(const std::string& directory, MaskedLm& model) {
  ASSIGN_OR_RETURN(const SafetensorsFile file, SafetensorsFile::Open(Join(directory, kWeightsFile)));
  Parameters& parameters = model.parameters();
  for (size_t i = 0; i < parameters.infos().size(); ++i) {
    const ParameterInfo& info = parameters.infos()[i];
    const std::string& name = info.name;
    if (!file.entries().contains(name)) {
      return absl::DataLossError(absl::StrCat(file.path(), ": tensor '", name, "' is missing"));
    }
    RETURN_IF_ERROR(file.ReadInto(name, info.WithoutPadding(parameters.MasterView(static_cast<int64_t>(i)))));
  }
  parameters.RefreshCompute();
  return absl::OkStatus();
}

}  // namespace

std::string ConfigJson(const ModelConfig& config) {
  const bool pre_ln = config.norm == NormPlacement::kPreLn;
  const nlohmann::ordered_json json = {
      {"architectures",
       {absl::StrCat(pre_ln ? "MegatronBert" : "Bert", config.next_sentence ? kPreTraining : "ForMaskedLM")}},
      {"attention_probs_dropout_prob", config.attention_dropout},
      {"dtype", "float32"},
      {"hidden_act", config.activation == Activation::kGelu ? "gelu" : "gelu_pytorch_tanh"},
      {"hidden_dropout_prob", config.hidden_dropout},
      {"hidden_size", config.hidden_size},
      {"initializer_range", config.initializer_range},
      {"intermediate_size", config.intermediate_size},
      {"layer_norm_eps", config.layer_norm_eps},
      {"max_position_embeddings", config.max_position_embeddings},
      {"model_type", pre_ln ? "megatron-bert" : "bert"},
      {"num_attention_heads", config.num_attention_heads},
      {"num_hidden_layers", config.num_hidden_layers},
      {"pad_token_id", config.pad_token_id},
      {"tie_word_embeddings", true},
      {"type_vocab_size", config.type_vocab_size},
      {"vocab_size", config.vocab_size},
  };
  return json.dump(2) + "\n";
}

absl::StatusOr<ModelConfig> ReadConfig(const std::string& directory) {
  const std::string path = Join(directory, kConfigFile);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(path, " is not a JSON object"));

  FieldReader reader(json, path);
  ModelConfig config;
  const std::string model_type = reader.Text("model_type", std::nullopt);
  // The defaults of both Hugging Face classes, which leave fields out of files that older versions wrote.
  const std::string hidden_act = reader.Text("hidden_act", "gelu");
  config.vocab_size = reader.Integer("vocab_size");
  config.hidden_size = reader.Integer("hidden_size");
  config.num_hidden_layers = reader.Integer("num_hidden_layers");
  config.num_attention_heads = reader.Integer("num_attention_heads");
  config.intermediate_size = reader.Integer("intermediate_size");
  config.max_position_embeddings = reader.Integer("max_position_embeddings", 512);
  config.type_vocab_size = reader.Integer("type_vocab_size", 2);
  config.hidden_dropout = reader.Number("hidden_dropout_prob", 0.1);
  config.attention_dropout = reader.Number("attention_probs_dropout_prob", 0.1);
  config.layer_norm_eps = reader.Number("layer_norm_eps", 1e-12);
  config.initializer_range = reader.Number("initializer_range", 0.02);
  config.pad_token_id = reader.Integer("pad_token_id", 0);
  config.next_sentence = HasNextSentenceHead(json);
  const bool tied = reader.Flag("tie_word_embeddings", true);
  const bool decoder = reader.Flag("is_decoder", false);
  const std::string positions = reader.Text("position_embedding_type", "absolute");
  RETURN_IF_ERROR(reader.status());
  if (!tied || decoder || positions != "absolute") {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": tie_word_embeddings must be true, is_decoder false and position_embedding_type absolute"));
  }

  const absl::StatusOr<NormPlacement> norm = NormOf(model_type);
  if (!norm.ok()) return Prefixed(norm.status(), path);
  config.norm = *norm;
  const absl::StatusOr<Activation> activation = ActivationOf(hidden_act);
  if (!activation.ok()) return Prefixed(activation.status(), path);
  config.activation = *activation;
  if (const absl::Status status = Validate(config); !status.ok()) return Prefixed(status, path);
  return config;
}

absl::Status SavePretrained(MaskedLm& model, const std::string& directory) {
  return SavePretrained(model.config(), model.parameters().infos(), model.parameters().master(), directory);
}

absl::Status SavePretrained(const ModelConfig& config, const std::vector<ParameterInfo>& infos,
                            const at::Tensor& master, const std::string& directory) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const ParameterInfo& info : infos) {
    tensors.emplace_back(info.name, info.WithoutPadding(master.narrow(0, info.offset, info.size).view(info.shape)));
  }
  RETURN_IF_ERROR(WriteFile(Join(directory, kConfigFile), ConfigJson(config)));
  return WriteSafetensors(Join(directory, kWeightsFile), tensors);
}

absl::StatusOr<std::unique_ptr<MaskedLm>> LoadPretrained(const std::string& directory, Precision precision,
                                                         at::Device device) {
  ASSIGN_OR_RETURN(const ModelConfig config, ReadConfig(directory));
  ASSIGN_OR_RETURN(std::unique_ptr<MaskedLm> model, MaskedLm::Create(config, precision, device));
  RETURN_IF_ERROR(ReadWeights(directory, *model));
  return model;
}

absl::Status LoadWeights(const std::string& directory, MaskedLm& model) {
  ASSIGN_OR_RETURN(const ModelConfig config, ReadConfig(directory));
  const std::vector<std::string> differences = Differences(config, model.config());
  if (!differences.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the model in ", directory, " is another one: ", absl::StrJoin(differences, ", ")));
  }
  return ReadWeights(directory, model);
}

}  // namespace bert::model
