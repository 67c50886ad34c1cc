#include "worker/model/commands.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "worker/model/fill_mask.h"
#include "worker/model/layout.h"
#include "worker/model/pretrained.h"
#include "worker/model/row_file.h"
#include "worker/model/safetensors.h"

namespace bert::model {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kMask[] = "[MASK]";

absl::Status CheckDirectory(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("no directory '", path, "'; it takes one with config.json, ",
                                          "model.safetensors and vocab.txt, such as a checkpoint's"));
}

void PrintFilled(const std::string& text, const std::vector<FilledMask>& filled, std::ostream& out) {
  out << text << "\n";
  for (size_t i = 0; i < filled.size(); ++i) {
    if (filled.size() > 1) out << "  " << kMask << " " << i + 1 << " of " << filled.size() << "\n";
    size_t width = 0;
    for (const Prediction& prediction : filled[i].predictions) width = std::max(width, prediction.token.size());
    for (size_t rank = 0; rank < filled[i].predictions.size(); ++rank) {
      const Prediction& prediction = filled[i].predictions[rank];
      out << absl::StrFormat("%3d. %-*s %5.1f%%\n", rank + 1, static_cast<int>(width), prediction.token,
                             100 * prediction.probability);
    }
  }
}

void PrintFilledJson(const std::string& text, const std::vector<FilledMask>& filled, std::ostream& out) {
  Json masks = Json::array();
  for (const FilledMask& mask : filled) {
    Json predictions = Json::array();
    for (const Prediction& prediction : mask.predictions) {
      predictions.push_back({{"token", prediction.token}, {"probability", prediction.probability}});
    }
    masks.push_back({{"position", mask.position}, {"predictions", predictions}});
  }
  out << Json{{"text", text}, {"masks", masks}}.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
}

absl::Status FillOne(const std::string& text, const FillMaskFlags& flags, MaskFiller& filler, std::ostream& out) {
  ASSIGN_OR_RETURN(const std::vector<FilledMask> filled, filler.Fill(text, flags.top_k));
  (flags.json ? PrintFilledJson : PrintFilled)(text, filled, out);
  return absl::OkStatus();
}

// Of a checkpoint; nothing for a model from elsewhere.
absl::StatusOr<std::optional<int64_t>> StepOf(const std::string& directory) {
  const std::string path = directory + "/training_state.json";
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return std::nullopt;
  if (!text.ok()) return text.status();
  const nlohmann::json json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) {
    return absl::DataLossError(absl::StrCat(path, " names no step"));
  }
  return json["step"].get<int64_t>();
}

std::string Thousands(int64_t number) {
  const std::string digits = std::to_string(number);
  std::string grouped;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) grouped += ',';
    grouped += digits[i];
  }
  return grouped;
}

void PrintInspected(const std::string& directory, const Json& json, std::ostream& out) {
  const Json& config = json["config"];
  out << directory << "\n";
  for (const auto& [field, value] : config.items()) {
    out << absl::StrFormat("  %-29s %s\n", field, value.is_string() ? value.get<std::string>() : value.dump());
  }
  out << absl::StrFormat("  %-29s %s\n", "parameters", Thousands(json["parameters"].get<int64_t>()));
  if (json.contains("step")) out << absl::StrFormat("  %-29s %s\n", "step", json["step"].dump());
  out << "tensors\n";
  for (const Json& tensor : json["tensors"]) {
    out << absl::StrFormat("  %-58s %-5s %s\n", tensor["name"].get<std::string>(), tensor["dtype"].get<std::string>(),
                           absl::StrJoin(tensor["shape"].get<std::vector<int64_t>>(), " x "));
  }
}

struct Totals {
  double nll = 0;
  int64_t masked = 0;
  int64_t correct = 0;
  int64_t rows = 0;
  // Of rows with a next-sentence label, where the model has that head.
  double next_sentence_nll = 0;
  int64_t next_sentence_rows = 0;
  int64_t next_sentence_correct = 0;
};

absl::StatusOr<Totals> EvaluateRows(std::istream& in, const std::string& path, int64_t batch_rows, MaskedLm& model) {
  Totals totals;
  int64_t line = 0;
  while (true) {
    ASSIGN_OR_RETURN(const MaskedBatch batch, ReadRows(in, path, batch_rows, model.config(), &line));
    if (batch.input_ids.size(0) == 0) break;
    totals.rows += batch.input_ids.size(0);
    const LossSums sums = model.Evaluate(batch);
    totals.nll += sums.nll.item<double>();
    totals.masked += sums.masked_tokens;
    totals.correct += sums.correct;
    if (sums.next_sentence.rows == 0) continue;
    totals.next_sentence_nll += sums.next_sentence.nll.item<double>();
    totals.next_sentence_rows += sums.next_sentence.rows;
    totals.next_sentence_correct += sums.next_sentence.correct;
  }
  if (totals.masked == 0) return absl::InvalidArgumentError(absl::StrCat(path, " has no masked tokens"));
  return totals;
}

}  // namespace

absl::Status FillMask(const FillMaskFlags& flags, std::istream& in, std::ostream& out) {
  RETURN_IF_ERROR(CheckDirectory(flags.model));
  ASSIGN_OR_RETURN(MaskFiller filler, MaskFiller::Load(flags.model));
  for (const std::string& text : flags.texts) RETURN_IF_ERROR(FillOne(text, flags, filler, out));
  if (!flags.texts.empty()) return absl::OkStatus();
  std::string text;
  for (int64_t line = 1; std::getline(in, text); ++line) {
    if (text.empty()) continue;
    if (const absl::Status status = FillOne(text, flags, filler, out); !status.ok()) {
      return absl::Status(status.code(), absl::StrCat("line ", line, ": ", status.message()));
    }
    out.flush();
  }
  return absl::OkStatus();
}

absl::Status Inspect(const InspectFlags& flags, std::ostream& out) {
  RETURN_IF_ERROR(CheckDirectory(flags.model));
  ASSIGN_OR_RETURN(const ModelConfig config, ReadConfig(flags.model));
  ASSIGN_OR_RETURN(const SafetensorsFile file, SafetensorsFile::Open(flags.model + "/model.safetensors"));
  ASSIGN_OR_RETURN(const std::optional<int64_t> step, StepOf(flags.model));
  int64_t parameters = 0;
  for (const ParameterInfo& info : MakeLayout(config).infos) parameters += info.size;
  Json json = {{"config", Json::parse(ConfigJson(config))}, {"parameters", parameters}};
  if (step) json["step"] = *step;
  json["tensors"] = Json::array();
  for (const auto& [name, entry] : file.entries()) {
    json["tensors"].push_back({{"name", name}, {"dtype", c10::toString(entry.dtype)}, {"shape", entry.shape}});
  }
  if (flags.json) {
    out << json.dump(2) << "\n";
  } else {
    PrintInspected(flags.model, json, out);
  }
  return absl::OkStatus();
}

absl::Status Evaluate(const EvaluateFlags& flags, std::istream& in, std::ostream& out) {
  RETURN_IF_ERROR(CheckDirectory(flags.model));
  ASSIGN_OR_RETURN(const std::unique_ptr<MaskedLm> model,
                   LoadPretrained(flags.model, flags.bf16 ? Precision::kBf16 : Precision::kFp32, at::kCPU));
  std::ifstream file;
  if (flags.rows != "-") {
    file.open(flags.rows);
    if (!file) return absl::NotFoundError(absl::StrCat("cannot open ", flags.rows));
  }
  ASSIGN_OR_RETURN(const Totals totals,
                   EvaluateRows(flags.rows == "-" ? in : file, flags.rows, flags.batch_rows, *model));
  const double masked = static_cast<double>(totals.masked);
  Json json = {{"loss", totals.nll / masked},
               {"perplexity", std::exp(totals.nll / masked)},
               {"accuracy", static_cast<double>(totals.correct) / masked},
               {"masked_tokens", totals.masked},
               {"rows", totals.rows}};
  if (totals.next_sentence_rows > 0) {
    const double rows = static_cast<double>(totals.next_sentence_rows);
    json["next_sentence_loss"] = totals.next_sentence_nll / rows;
    json["next_sentence_accuracy"] = static_cast<double>(totals.next_sentence_correct) / rows;
  }
  if (flags.json) {
    out << json.dump() << "\n";
  } else {
    out << absl::StrFormat(
        "loss        %.4f nats per masked token\nperplexity  %.2f\naccuracy    %.1f%% of %s masked "
        "tokens in %s rows\n",
        json["loss"].get<double>(), json["perplexity"].get<double>(), 100 * json["accuracy"].get<double>(),
        Thousands(totals.masked), Thousands(totals.rows));
    if (json.contains("next_sentence_loss")) {
      out << absl::StrFormat("next sentence  loss %.4f, accuracy %.1f%% of %s rows\n",
                             json["next_sentence_loss"].get<double>(),
                             100 * json["next_sentence_accuracy"].get<double>(), Thousands(totals.next_sentence_rows));
    }
  }
  return absl::OkStatus();
}

}  // namespace bert::model
