// bertctl steps
#include <fmt/format.h>

#include <map>
#include <memory>

#include "bertctl/session.h"
#include "bertctl/table.h"
#include "bertctl/value_format.h"

namespace bert::ctl {
namespace {

using enum OutputFormat;

struct StepOptions {
  std::string id;
  int64_t after_step = 0;
  int32_t max_points = 0;
  OutputFormat format = kTable;
};

std::string StepTable(const v1::ListStepsResponse& steps, bool color) {
  std::map<int64_t, const v1::ValidationMetrics*> validations;
  for (const v1::ValidationMetrics& validation : steps.validations()) validations[validation.step()] = &validation;
  Table table({{"STEP", Align::kRight},
               {"LOSS", Align::kRight},
               {"LEARNING RATE", Align::kRight},
               {"GRADIENT NORM", Align::kRight},
               {"TOKENS/S", Align::kRight},
               {"VALIDATION LOSS", Align::kRight}});
  for (const v1::StepMetrics& step : steps.steps()) {
    const auto validation = validations.find(step.step());
    table.Add({{FormatCount(step.step())},
               {FormatLoss(step.loss())},
               {fmt::format("{:.3e}", step.learning_rate())},
               {FormatLoss(step.grad_norm())},
               {FormatRate(step.tokens_per_second())},
               {validation == validations.end() ? "" : FormatLoss(validation->second->loss())}});
  }
  return table.Format(color);
}

ExitCode ListSteps(Session& session, const StepOptions& options) {
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  const auto steps = (*client)->ListSteps(options.id, options.after_step, options.max_points);
  if (!steps.ok()) return session.Fail(steps.status());
  std::ostream& out = session.console.out;
  if (options.format == kJson || options.format == kYaml) {
    out << (options.format == kJson ? ToJson(*steps) : ToYaml(*steps));
  } else if (steps->steps().empty()) {
    session.Note("no steps yet");
  } else {
    out << StepTable(*steps, session.console.color());
  }
  return ExitCode::kOk;
}

}  // namespace

void AddStepCommands(CLI::App& app, Session& session) {
  auto options = std::make_shared<StepOptions>();
  CLI::App* const steps = app.add_subcommand("steps", "Show a job's loss and rates step by step, and its validations");
  steps->add_option("JOB", options->id, "The job's id")->required();
  steps->add_option("--after", options->after_step, "Only steps behind this one")->check(CLI::NonNegativeNumber);
  steps->add_option("--max-points", options->max_points, "At most so many, evenly spread (10,000 by default)")
      ->check(CLI::Range(1, 10'000));
  AddOutputOption(*steps, {kTable, kJson, kYaml}, options->format);
  steps->footer(
      "Examples:\n  bertctl steps JOB --max-points 20\n"
      "  bertctl steps JOB -o json | jq -r '.steps[] | [.step, .loss] | @tsv'");
  steps->callback(
      [&session, options] { session.action = [&session, options] { return ListSteps(session, *options); }; });
}

}  // namespace bert::ctl
