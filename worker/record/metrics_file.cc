#include "worker/record/metrics_file.h"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/status_macros.h"

namespace bert::record {
namespace {

using Json = nlohmann::ordered_json;

Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

double Seconds(absl::Time time) { return absl::ToDoubleSeconds(time - absl::UnixEpoch()); }

std::string Line(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"; }

double NumberAt(const nlohmann::json& json, const char* name) {
  const auto at = json.find(name);
  return at != json.end() && at->is_number() ? at->get<double>() : std::nan("");
}

std::optional<double> OptionalAt(const nlohmann::json& json, const char* name) {
  if (!json.contains(name)) return std::nullopt;
  return NumberAt(json, name);
}

}  // namespace

std::string LineOf(const StepPoint& point) {
  Json json = {{"kind", "step"}, {"step", point.step}};
  json["loss"] = point.skipped ? Json(nullptr) : Number(point.loss);
  if (point.next_sentence_loss) json["next_sentence_loss"] = Number(*point.next_sentence_loss);
  json["learning_rate"] = Number(point.learning_rate);
  json["grad_norm"] = point.skipped ? Json(nullptr) : Number(point.grad_norm);
  json["tokens_per_second"] = Number(point.tokens_per_second);
  json["mfu"] = point.mfu > 0 ? Number(point.mfu) : Json(nullptr);
  json["data_wait"] = Number(point.data_wait);
  json["checkpoint_stall"] = Number(point.checkpoint_stall);
  if (point.skipped) json["skipped"] = true;
  json["time"] = Seconds(point.time);
  return Line(json);
}

std::string LineOf(const ValidationPoint& point) {
  Json json = {{"kind", "validation"},
               {"step", point.step},
               {"loss", Number(point.loss)},
               {"perplexity", Number(point.perplexity)},
               {"accuracy", Number(point.accuracy)},
               {"masked_tokens", point.masked_tokens}};
  if (point.next_sentence_loss) json["next_sentence_loss"] = Number(*point.next_sentence_loss);
  if (point.next_sentence_accuracy) json["next_sentence_accuracy"] = Number(*point.next_sentence_accuracy);
  json["time"] = Seconds(point.time);
  return Line(json);
}

MetricsLine ParseMetricsLine(std::string_view line) {
  MetricsLine parsed;
  const nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) return parsed;
  const auto step = json["step"].get<int64_t>();
  const absl::Time time = absl::UnixEpoch() + absl::Seconds(NumberAt(json, "time"));
  const nlohmann::json kind = json.contains("kind") ? json["kind"] : nlohmann::json();
  if (kind == "step") {
    parsed.step = StepPoint{.step = step,
                            .loss = NumberAt(json, "loss"),
                            .next_sentence_loss = OptionalAt(json, "next_sentence_loss"),
                            .learning_rate = NumberAt(json, "learning_rate"),
                            .grad_norm = NumberAt(json, "grad_norm"),
                            .tokens_per_second = NumberAt(json, "tokens_per_second"),
                            .mfu = NumberAt(json, "mfu"),
                            .data_wait = NumberAt(json, "data_wait"),
                            .checkpoint_stall = NumberAt(json, "checkpoint_stall"),
                            .skipped = json.contains("skipped"),
                            .time = time};
  } else if (kind == "validation") {
    const double masked = NumberAt(json, "masked_tokens");
    parsed.validation = ValidationPoint{.step = step,
                                        .loss = NumberAt(json, "loss"),
                                        .perplexity = NumberAt(json, "perplexity"),
                                        .accuracy = NumberAt(json, "accuracy"),
                                        .masked_tokens = std::isfinite(masked) ? static_cast<int64_t>(masked) : 0,
                                        .next_sentence_loss = OptionalAt(json, "next_sentence_loss"),
                                        .next_sentence_accuracy = OptionalAt(json, "next_sentence_accuracy"),
                                        .predictions = "",
                                        .time = time};
  }
  return parsed;
}

absl::Status ForEachLine(const std::string& path, const std::function<void(const std::string& line)>& use) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return absl::NotFoundError(absl::StrCat("no ", path));
  std::ifstream in(path, std::ios::binary);
  if (!in) return SystemError(errno, absl::StrCat("cannot read ", path));
  std::string line;
  // A last line without its end is torn.
  while (std::getline(in, line) && !in.eof()) use(line);
  if (in.bad()) return SystemError(errno, absl::StrCat("cannot read ", path));
  return absl::OkStatus();
}

absl::Status KeepUpTo(const std::string& path, int64_t last_step) {
  const std::string temporary = absl::StrCat(path, ".tmp");
  std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
  const auto keep = [&](const std::string& line) {
    const MetricsLine parsed = ParseMetricsLine(line);
    const bool kept = (parsed.step.has_value() && parsed.step->step <= last_step) ||
                      (parsed.validation.has_value() && parsed.validation->step <= last_step);
    if (kept) out << line << '\n';
  };
  absl::Status status = out ? ForEachLine(path, keep) : SystemError(errno, absl::StrCat("cannot create ", temporary));
  out.close();
  if (status.ok() && !out) status = absl::ResourceExhaustedError(absl::StrCat("cannot write ", temporary));
  if (status.ok()) status = SyncFile(temporary);
  if (status.ok()) return RenameDurably(temporary, path);
  std::error_code error;
  std::filesystem::remove(temporary, error);
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

}  // namespace bert::record
