#include "worker/trainer/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/digest.h"
#include "common/entropy.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "worker/model/pretrained.h"
#include "worker/model/safetensors.h"

namespace bert::trainer {
namespace {

constexpr char kManifestFile[] = "manifest.json";
constexpr char kManifestFormat[] = "bert-checkpoint";
constexpr char kStateFile[] = "training_state.json";
constexpr char kStateFormat[] = "bert-training-state";
constexpr char kOptimizerFile[] = "optimizer.safetensors";
constexpr int kVersion = 1;
constexpr absl::string_view kCheckpointPrefix = "step-";
constexpr absl::string_view kTemporaryPrefix = ".tmp-";

std::string Join(const std::string& directory, const std::string& file) { return absl::StrCat(directory, "/", file); }

std::string StateJson(const TrainingState& state) {
  const nlohmann::ordered_json json = {
      {"format", kStateFormat},
      {"version", kVersion},
      {"job_id", state.job_id},
      {"step", state.step},
      {"seed", state.seed},
      {"total_steps", state.total_steps},
      {"warmup_steps", state.warmup_steps},
      {"learning_rate", state.learning_rate},
      {"global_batch_size", state.global_batch_size},
      {"max_seq_len", state.max_seq_len},
      {"deterministic", state.deterministic},
      {"lanes", state.lanes},
      {"dataset", state.dataset},
      {"dataset_digest", state.dataset_digest},
      {"recipe", state.recipe},
  };
  return json.dump(2) + "\n";
}

absl::StatusOr<nlohmann::json> ReadJson(const std::string& path, const char* format) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("format") || json["format"] != format || !json.contains("version") ||
      json["version"] != kVersion) {
    return absl::DataLossError(absl::StrCat(path, " is not a ", format, " file of version ", kVersion));
  }
  return json;
}

// Every file of `directory`, sorted, with size and digest.
absl::StatusOr<std::string> ManifestJson(const std::string& directory, int64_t step, int64_t* size_bytes) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    names.push_back(entry.path().filename().string());
  }
  if (error) return SystemError(error.value(), absl::StrCat("cannot list ", directory));
  std::sort(names.begin(), names.end());
  nlohmann::ordered_json files = nlohmann::ordered_json::array();
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const FileDigest digest, DigestFile(Join(directory, name)));
    files.push_back({{"name", name}, {"bytes", digest.bytes}, {"digest", digest.digest}});
    *size_bytes += digest.bytes;
  }
  const nlohmann::ordered_json json = {
      {"format", kManifestFormat}, {"version", kVersion}, {"step", step}, {"files", files}};
  return json.dump(2) + "\n";
}

absl::Status WriteFiles(const CheckpointContent& content, const std::string& directory,
                        const std::function<bool()>& cancelled) {
  const auto go_on = [&] { return cancelled() ? absl::CancelledError("stopping") : absl::OkStatus(); };
  RETURN_IF_ERROR(model::SavePretrained(content.config, content.infos, content.tensors.master, directory));
  RETURN_IF_ERROR(go_on());
  RETURN_IF_ERROR(
      model::WriteSafetensors(Join(directory, kOptimizerFile),
                              {{"exp_avg", content.tensors.exp_avg}, {"exp_avg_sq", content.tensors.exp_avg_sq}}));
  RETURN_IF_ERROR(go_on());
  for (const TokenizerFile& file : content.tokenizer_files) {
    // The names come from another process.
    if (file.name.empty() || file.name.find('/') != std::string::npos || file.name.front() == '.') {
      return absl::InvalidArgumentError(absl::StrCat("tokenizer file '", file.name, "' has no plain file name"));
    }
    RETURN_IF_ERROR(WriteFile(Join(directory, file.name), file.content));
  }
  return WriteFile(Join(directory, kStateFile), StateJson(content.state));
}

// The generation that writes to a name of CheckpointDirectory's form; nullopt for all other names.
std::optional<int64_t> GenerationOf(absl::string_view name) {
  if (!absl::ConsumePrefix(&name, kCheckpointPrefix)) return std::nullopt;
  const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(name, absl::MaxSplits("-g", 1));
  int64_t step = 0;
  int64_t generation = 1;
  if (!absl::SimpleAtoi(parts.first, &step)) return std::nullopt;
  if (parts.first.size() < name.size() && !absl::SimpleAtoi(parts.second, &generation)) return std::nullopt;
  return generation;
}

// ".tmp-<generation>-<token>"
std::string TemporaryDirectory(const std::string& job_directory, int64_t generation) {
  return absl::StrCat(job_directory, "/", kTemporaryPrefix, generation, "-", RandomToken(8));
}

// As GenerationOf, of a name of TemporaryDirectory's form.
std::optional<int64_t> GenerationOfTemporary(absl::string_view name) {
  if (!absl::ConsumePrefix(&name, kTemporaryPrefix)) return std::nullopt;
  int64_t generation = 0;
  if (!absl::SimpleAtoi(name.substr(0, name.find('-')), &generation)) return std::nullopt;
  return generation;
}

// Removes those entries of `job_directory` for whose names `unwanted` is true. No directory, nothing to remove.
absl::Status RemoveEntries(const std::string& job_directory,
                           const std::function<bool(const std::string& name)>& unwanted) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(job_directory, error)) {
    names.push_back(entry.path().filename().string());
  }
  for (const std::string& name : names) {
    if (unwanted(name)) RETURN_IF_ERROR(RemoveTree(Join(job_directory, name)));
  }
  return absl::OkStatus();
}

}  // namespace

std::string CheckpointDirectory(const std::string& job_directory, int64_t step, int64_t generation) {
  const std::string directory = absl::StrFormat("%s/%s%08d", job_directory, kCheckpointPrefix, step);
  return generation > 1 ? absl::StrCat(directory, "-g", generation) : directory;
}

int64_t CheckpointBytes(const CheckpointContent& content) {
  constexpr int64_t kHeaders = 64 << 10;
  int64_t bytes = kHeaders + 3 * content.tensors.master.numel() * static_cast<int64_t>(sizeof(float));
  for (const TokenizerFile& file : content.tokenizer_files) bytes += static_cast<int64_t>(file.content.size());
  return bytes;
}

absl::StatusOr<WrittenCheckpoint> WriteCheckpoint(const CheckpointContent& content, const std::string& job_directory,
                                                  const std::function<bool()>& cancelled) {
  const std::string temporary = TemporaryDirectory(job_directory, content.generation);
  absl::Cleanup remove_temporary = [&] { RemoveTree(temporary).IgnoreError(); };
  RETURN_IF_ERROR(MakeDirectories(temporary));
  RETURN_IF_ERROR(WriteFiles(content, temporary, cancelled));
  WrittenCheckpoint written = {.directory = CheckpointDirectory(job_directory, content.state.step, content.generation),
                               .digest = "",
                               .size_bytes = 0};
  ASSIGN_OR_RETURN(const std::string manifest, ManifestJson(temporary, content.state.step, &written.size_bytes));
  written.digest = Digest(manifest);
  written.size_bytes += static_cast<int64_t>(manifest.size());
  RETURN_IF_ERROR(WriteFile(Join(temporary, kManifestFile), manifest));
  RETURN_IF_ERROR(SyncDirectory(temporary));
  if (cancelled()) return absl::CancelledError("stopping");
  // rename(2) replaces no directory that has files.
  RETURN_IF_ERROR(RenameDurably(temporary, written.directory));
  std::move(remove_temporary).Cancel();
  return written;
}

absl::Status RemoveTemporaries(const std::string& job_directory, int64_t generation) {
  return RemoveEntries(job_directory, [&](const std::string& name) {
    const std::optional<int64_t> writer = GenerationOfTemporary(name);
    return writer.has_value() && *writer < generation;
  });
}

absl::Status RemoveUncommitted(const std::string& job_directory, int64_t generation,
                               const std::vector<std::string>& committed) {
  // By name: the path is as the node that wrote it sees it.
  std::set<std::string> kept;
  for (const std::string& directory : committed) kept.insert(std::filesystem::path(directory).filename());
  return RemoveEntries(job_directory, [&](const std::string& name) {
    const std::optional<int64_t> writer = GenerationOf(name);
    return writer.has_value() && *writer < generation && !kept.contains(name);
  });
}

absl::Status VerifyCheckpoint(const std::string& directory, const std::string& digest) {
  const std::string manifest_path = Join(directory, kManifestFile);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(manifest_path));
  if (Digest(text) != digest) {
    return absl::DataLossError(
        absl::StrCat(manifest_path, " is damaged: its digest is ", Digest(text), ", committed was ", digest));
  }
  // Its digest fits, so it is what this program wrote.
  ASSIGN_OR_RETURN(const nlohmann::json manifest, ReadJson(manifest_path, kManifestFormat));
  for (const nlohmann::json& file : manifest.at("files")) {
    const std::string path = Join(directory, file.at("name").get<std::string>());
    ASSIGN_OR_RETURN(const FileDigest found, DigestFile(path));
    if (found.bytes != file.at("bytes").get<int64_t>() || found.digest != file.at("digest").get<std::string>()) {
      return absl::DataLossError(absl::StrCat(path, " is damaged: ", found.bytes, " bytes with digest ", found.digest,
                                              ", written were ", file.at("bytes").get<int64_t>(), " with ",
                                              file.at("digest").get<std::string>()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<TrainingState> ReadTrainingState(const std::string& directory) {
  const std::string path = Join(directory, kStateFile);
  ASSIGN_OR_RETURN(const nlohmann::json json, ReadJson(path, kStateFormat));
  TrainingState state;
  try {
    json.at("job_id").get_to(state.job_id);
    json.at("step").get_to(state.step);
    json.at("seed").get_to(state.seed);
    json.at("total_steps").get_to(state.total_steps);
    json.at("warmup_steps").get_to(state.warmup_steps);
    json.at("learning_rate").get_to(state.learning_rate);
    json.at("global_batch_size").get_to(state.global_batch_size);
    json.at("max_seq_len").get_to(state.max_seq_len);
    json.at("deterministic").get_to(state.deterministic);
    json.at("lanes").get_to(state.lanes);
    json.at("dataset").get_to(state.dataset);
    json.at("dataset_digest").get_to(state.dataset_digest);
    state.recipe = json.value("recipe", "");
  } catch (const nlohmann::json::exception& error) {
    return absl::DataLossError(absl::StrCat(path, ": ", error.what()));
  }
  return state;
}

absl::Status CheckCompatible(const TrainingState& found, const TrainingState& wanted, const std::string& directory) {
  std::vector<std::string> differences;
  const auto compare = [&](const char* field, const auto& in_checkpoint, const auto& in_job) {
    if (in_checkpoint != in_job) {
      differences.push_back(absl::StrCat(field, " ", in_checkpoint, " (job: ", in_job, ")"));
    }
  };
  compare("dataset_digest", found.dataset_digest, wanted.dataset_digest);
  compare("seed", found.seed, wanted.seed);
  compare("train.steps", found.total_steps, wanted.total_steps);
  compare("train.global_batch_size", found.global_batch_size, wanted.global_batch_size);
  compare("train.optimizer.warmup_steps", found.warmup_steps, wanted.warmup_steps);
  compare("train.optimizer.learning_rate", found.learning_rate, wanted.learning_rate);
  compare("data.max_seq_len", found.max_seq_len, wanted.max_seq_len);
  if (!found.recipe.empty()) compare("train", found.recipe, wanted.recipe);
  compare("deterministic", found.deterministic, wanted.deterministic);
  compare("workers.max", found.lanes, wanted.lanes);
  if (differences.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the checkpoint ", directory, " is of another training: ", absl::StrJoin(differences, ", ")));
}

absl::Status LoadCheckpoint(const std::string& directory, model::MaskedLm& model, at::Tensor exp_avg,
                            at::Tensor exp_avg_sq) {
  RETURN_IF_ERROR(model::LoadWeights(directory, model));
  ASSIGN_OR_RETURN(const model::SafetensorsFile optimizer,
                   model::SafetensorsFile::Open(Join(directory, kOptimizerFile)));
  RETURN_IF_ERROR(optimizer.ReadInto("exp_avg", exp_avg));
  return optimizer.ReadInto("exp_avg_sq", exp_avg_sq);
}

}  // namespace bert::trainer
