#include "bertctl/progress_line.h"

#include <fmt/format.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "bertctl/exit_code.h"
#include "bertctl/value_format.h"

namespace bert::ctl {
namespace {

// How much one more observed step counts against all before.
constexpr double kForgetting = 0.1;

std::string Bar(double share, int cells) {
  const int filled = std::clamp(static_cast<int>(share * cells), 0, cells);
  return fmt::format("[{}{}]", std::string(filled, '#'), std::string(cells - filled, '-'));
}

// Cuts at `width` code points, never inside one.
std::string Cut(const std::string& line, int width) {
  if (width <= 0) return line;
  int seen = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    if ((line[i] & 0xc0) == 0x80) continue;
    if (seen++ == width) return line.substr(0, i);
  }
  return line;
}

std::string WhereOf(const v1::Failure& failure) {
  return failure.node().empty() ? fmt::format("rank {}", failure.rank())
                                : fmt::format("rank {} on {}", failure.rank(), failure.node());
}

std::string ValidationText(const v1::ValidationMetrics& validation) {
  return fmt::format("loss {}, perplexity {:.1f}, accuracy {}", FormatLoss(validation.loss()), validation.perplexity(),
                     FormatShare(validation.accuracy()));
}

}  // namespace

void Pace::Observe(const v1::Job& job) {
  const int64_t step = job.last_step().step();
  const absl::Time time = ToTime(job.last_step().time());
  if (step == 0) return;
  if (job.generation() == generation_ && step > step_ && step_ > 0 && time > time_) {
    const auto steps = static_cast<double>(step - step_);
    const double seconds = absl::ToDoubleSeconds(time - time_) / steps;
    const double weight = seconds_per_step_ ? std::min(1.0, kForgetting * steps) : 1.0;
    seconds_per_step_ = (1 - weight) * seconds_per_step_.value_or(0) + weight * seconds;
  }
  if (job.generation() != generation_ || step != step_) {
    generation_ = job.generation();
    step_ = step;
    time_ = time;
  }
}

std::optional<absl::Duration> Pace::step_duration() const {
  if (!seconds_per_step_) return std::nullopt;
  return absl::Seconds(*seconds_per_step_);
}

std::string ProgressLine(const v1::Job& job, std::optional<absl::Duration> step_duration, int width) {
  if (job.state() != v1::JOB_STATE_RUNNING || !job.has_last_step()) {
    std::string line = absl::AsciiStrToLower(StateName(job.state()));
    if (!job.reason().empty()) {
      line += ": " + Printable(job.reason());
    } else if (job.state() == v1::JOB_STATE_RUNNING) {
      line += ": its first step is under way";
    }
    return Cut(line, width);
  }
  const v1::StepMetrics& step = job.last_step();
  const int64_t steps = TotalSteps(job);
  const double share = steps > 0 ? static_cast<double>(step.step()) / static_cast<double>(steps) : 0;
  std::string text =
      fmt::format("{:3.0f}%  step {}/{}  loss {}  {} tokens/s", 100 * std::min(share, 1.0), FormatCount(step.step()),
                  FormatTotalSteps(job), FormatLoss(step.loss()), FormatRate(step.tokens_per_second()));
  if (steps > 0 && step.step() >= steps) {
    text += "  finishing";
  } else if (steps > 0 && step_duration) {
    text += "  ETA " + FormatAge(*step_duration * (steps - step.step()));
  }
  constexpr int kBarCells = 20;
  constexpr int kBarCellsMin = 5;
  const int cells = width <= 0 ? kBarCells : std::min<int>(kBarCells, width - static_cast<int>(text.size()) - 4);
  if (cells >= kBarCellsMin) text = Bar(share, cells) + " " + text;
  return Cut(text, width);
}

std::vector<std::string> ProgressNotes(const v1::Job* before, const v1::Job& now) {
  std::vector<std::string> notes;
  const bool failed_anew = now.has_root_cause() && (before == nullptr || !before->has_root_cause() ||
                                                    before->root_cause().generation() != now.root_cause().generation());
  if (failed_anew && !HasEnded(now.state())) {
    notes.push_back(
        fmt::format("generation {} failed: {}", now.root_cause().generation(), Printable(now.root_cause().cause())));
  }
  if (before != nullptr && now.generation() > before->generation()) {
    const int64_t resume = now.checkpoint_step();
    if (now.generation() == 1) {
      notes.push_back(fmt::format("started with {} rank{}", now.ranks_size(), now.ranks_size() == 1 ? "" : "s"));
    } else {
      notes.push_back(fmt::format(
          "generation {} starts {}", now.generation(),
          resume > 0 ? fmt::format("from the checkpoint of step {}", FormatCount(resume)) : "from the beginning"));
    }
  }
  if (before != nullptr && now.has_last_validation() &&
      (!before->has_last_validation() || before->last_validation().step() != now.last_validation().step())) {
    notes.push_back(fmt::format("validation at step {}: {}", FormatCount(now.last_validation().step()),
                                ValidationText(now.last_validation())));
  }
  if (before != nullptr && now.checkpoint_step() > before->checkpoint_step()) {
    notes.push_back(fmt::format("checkpoint of step {} committed", FormatCount(now.checkpoint_step())));
  }
  if (now.state() == v1::JOB_STATE_CANCELLING && (before == nullptr || before->state() != now.state())) {
    notes.push_back("cancelling: its ranks are ending");
  }
  return notes;
}

std::string EndSummary(const v1::Job& job) {
  std::string out = fmt::format("job {} {}", job.id(), absl::AsciiStrToLower(StateName(job.state())));
  if (job.has_start_time() && job.has_end_time()) {
    out += fmt::format(" after {}", FormatAge(ToTime(job.end_time()) - ToTime(job.start_time())));
  }
  if (job.state() == v1::JOB_STATE_FAILED && !job.reason().empty()) out += ": " + Printable(job.reason());
  out += "\n";
  if (job.has_last_step()) {
    out += fmt::format("  step {} of {}, loss {}\n", FormatCount(job.last_step().step()), FormatTotalSteps(job),
                       FormatLoss(job.last_step().loss()));
  }
  if (job.has_last_validation()) {
    out += fmt::format("  validation at step {}: {}\n", FormatCount(job.last_validation().step()),
                       ValidationText(job.last_validation()));
  }
  if (job.checkpoint_step() > 0) {
    out += fmt::format("  newest checkpoint: step {}; see `bertctl checkpoint list {}`\n",
                       FormatCount(job.checkpoint_step()), job.id());
  }
  if (job.state() == v1::JOB_STATE_FAILED && job.has_root_cause()) {
    const v1::Failure& cause = job.root_cause();
    if (job.reason().find(cause.cause()) == std::string::npos) {
      out += fmt::format("  root cause in generation {}: {}\n", cause.generation(), Printable(cause.cause()));
    }
    if (cause.log_tail_size() > 0) {
      out += fmt::format("  the last lines of {} in generation {}:\n", WhereOf(cause), cause.generation());
    }
    for (const std::string& line : job.root_cause().log_tail()) out += "    | " + Printable(line) + "\n";
  }
  return out;
}

}  // namespace bert::ctl
