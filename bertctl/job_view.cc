#include "bertctl/job_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "bertctl/output_format.h"
#include "bertctl/table.h"
#include "bertctl/value_format.h"

namespace bert::ctl {
namespace {

constexpr size_t kShownEvents = 10;
constexpr size_t kShownCheckpoints = 5;

std::string Steps(const v1::Job& job) {
  const int64_t steps = TotalSteps(job);
  return fmt::format("{}/{}", job.last_step().step(), steps > 0 ? fmt::format("{}", steps) : "?");
}

// "node-a:0-1,node-b:0"
std::string Places(const v1::Job& job) {
  std::vector<std::string> places;
  for (const v1::RankPlacement& rank : job.ranks()) places.push_back(fmt::format("{}:{}", rank.node(), rank.slot()));
  return places.empty() ? "-" : absl::StrJoin(places, ",");
}

void Field(std::string& out, std::string_view title, std::string_view value) {
  out += fmt::format("{:<13}{}\n", title, value);
}

std::string TimeWithAge(const google::protobuf::Timestamp& time, absl::Time now) {
  return fmt::format("{} ({} ago)", FormatTime(time), FormatAge(time, now));
}

// "compute 75.0%, data 1.0%, ...": the largest first, what took nothing left out.
std::string TimeText(const v1::TimeShares& shares) {
  std::vector<std::pair<double, std::string_view>> parts = {
      {shares.compute(), "compute"},     {shares.all_reduce(), "all-reduce"}, {shares.optimizer(), "optimizer"},
      {shares.data_wait(), "data wait"}, {shares.checkpoint(), "checkpoint"}, {shares.validation(), "validation"}};
  std::erase_if(parts, [](const auto& part) { return part.first <= 0; });
  std::stable_sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  return absl::StrJoin(parts, ", ", [](std::string* text, const auto& part) {
    *text += fmt::format("{} {}", part.second, FormatShare(part.first));
  });
}

void DescribeProgress(const v1::Job& job, std::string& out) {
  if (job.has_last_step()) {
    const v1::StepMetrics& step = job.last_step();
    const int64_t steps = TotalSteps(job);
    Field(out, "Progress",
          fmt::format("step {} of {} ({}), epoch {:.2f}", FormatCount(step.step()), FormatTotalSteps(job),
                      FormatShare(steps > 0 ? static_cast<double>(step.step()) / static_cast<double>(steps) : 0),
                      step.epoch()));
    Field(out, "Last step",
          fmt::format("loss {}, learning rate {:.3g}, gradient norm {:.3f}, {} tokens/s", FormatLoss(step.loss()),
                      step.learning_rate(), step.grad_norm(), FormatRate(step.tokens_per_second())));
  }
  if (job.has_time_shares()) Field(out, "Time", TimeText(job.time_shares()));
  if (job.skipped_steps() > 0) {
    Field(out, "Skipped",
          fmt::format("{} step{} whose loss or gradient was not finite", FormatCount(job.skipped_steps()),
                      job.skipped_steps() == 1 ? "" : "s"));
  }
  if (job.has_last_validation()) {
    const v1::ValidationMetrics& validation = job.last_validation();
    Field(out, "Validation",
          fmt::format("loss {}, perplexity {:.1f}, accuracy {} at step {} over {} masked tokens",
                      FormatLoss(validation.loss()), validation.perplexity(), FormatShare(validation.accuracy()),
                      FormatCount(validation.step()), FormatCount(validation.masked_tokens())));
    if (validation.has_next_sentence_loss()) {
      Field(out, "",
            fmt::format("next sentence: loss {}, accuracy {}", FormatLoss(validation.next_sentence_loss()),
                        FormatShare(validation.next_sentence_accuracy())));
    }
  }
}

void AddHealth(const v1::RankHealth& health, std::vector<Cell>& row) {
  row.push_back({FormatCount(health.completed_steps())});
  row.push_back({FormatRate(health.tokens_per_second())});
  row.push_back({health.mfu() > 0 ? FormatShare(health.mfu()) : "-"});
  row.push_back({TimeText(health.time_shares())});
}

void DescribeRootCause(const v1::Failure& failure, absl::Time now, bool color, std::string& out) {
  Field(out, "Root cause",
        fmt::format("generation {}, {} ago: {}", failure.generation(), FormatAge(failure.time(), now),
                    Colored(Printable(failure.cause()), Color::kRed, color)));
  for (const std::string& line : failure.log_tail()) out += "  | " + Printable(line) + "\n";
}

}  // namespace

std::string JobTable(const std::vector<v1::Job>& jobs, bool wide, absl::Time now, bool color) {
  std::vector<Column> columns = {{"ID"},
                                 {"STATE"},
                                 {"STEP", Align::kRight},
                                 {"LOSS", Align::kRight},
                                 {"VAL-LOSS", Align::kRight},
                                 {"TOKENS/S", Align::kRight},
                                 {"RESTARTS", Align::kRight},
                                 {"AGE", Align::kRight}};
  if (wide) {
    for (const char* title : {"NAME", "USER", "PLACES", "REASON"}) columns.push_back({title});
  }
  Table table(columns);
  for (const v1::Job& job : jobs) {
    const bool runs = job.state() == v1::JOB_STATE_RUNNING && job.has_last_step();
    std::vector<Cell> row = {{job.id()},
                             {StateName(job.state()), ColorOf(job.state())},
                             {Steps(job)},
                             {job.has_last_step() ? FormatLoss(job.last_step().loss()) : "-"},
                             {job.has_last_validation() ? FormatLoss(job.last_validation().loss()) : "-"},
                             {runs ? FormatRate(job.last_step().tokens_per_second()) : "-"},
                             {fmt::format("{}", job.restarts())},
                             {FormatAge(job.submit_time(), now)}};
    if (wide) {
      for (const std::string& text : {job.spec().name(), job.user(), Places(job), job.reason()}) {
        row.push_back({text.empty() ? "-" : text});
      }
    }
    table.Add(std::move(row));
  }
  return table.Format(color);
}

std::string EventTable(const std::vector<v1::JobEvent>& events, absl::Time now, bool color, int indent) {
  Table table({{"AGE", Align::kRight}, {"GENERATION", Align::kRight}, {"EVENT"}, {"MESSAGE"}});
  for (const v1::JobEvent& event : events) {
    const bool bad = event.type().find("FAILED") != std::string::npos || event.type().find("LOST") != std::string::npos;
    table.Add({{FormatAge(event.time(), now)},
               {fmt::format("{}", event.generation())},
               {event.type(), bad ? Color::kRed : Color::kNone},
               {event.message()}});
  }
  return table.Format(color, indent);
}

std::string CheckpointTable(const std::vector<v1::Checkpoint>& checkpoints, bool wide, absl::Time now, bool color,
                            int indent) {
  std::vector<Column> columns = {
      {"STEP", Align::kRight}, {"SIZE", Align::kRight}, {"AGE", Align::kRight}, {"NODE"}, {"DIRECTORY"}};
  if (wide) {
    columns.push_back({"GENERATION", Align::kRight});
    columns.push_back({"DIGEST"});
  }
  Table table(columns);
  for (const v1::Checkpoint& checkpoint : checkpoints) {
    std::vector<Cell> row = {{FormatCount(checkpoint.step())},
                             {FormatBytes(checkpoint.size_bytes())},
                             {FormatAge(checkpoint.commit_time(), now)},
                             {checkpoint.node()},
                             {checkpoint.directory()}};
    if (wide) {
      row.push_back({fmt::format("{}", checkpoint.generation())});
      row.push_back({checkpoint.digest()});
    }
    table.Add(std::move(row));
  }
  return table.Format(color, indent);
}

std::string DescribeJob(const JobDescription& description, absl::Time now, bool color) {
  const v1::Job& job = description.job;
  std::string out;
  Field(out, "Job", job.id());
  Field(out, "State", Colored(StateName(job.state()), ColorOf(job.state()), color));
  if (!job.reason().empty()) Field(out, "Reason", Printable(job.reason()));
  Field(out, "User", job.user().empty() ? "-" : Printable(job.user()));
  Field(out, "Submitted", TimeWithAge(job.submit_time(), now));
  if (job.has_start_time()) Field(out, "Started", TimeWithAge(job.start_time(), now));
  if (job.has_end_time()) {
    std::string end = TimeWithAge(job.end_time(), now);
    if (job.has_start_time()) end += ", ran " + FormatAge(ToTime(job.end_time()) - ToTime(job.start_time()));
    Field(out, "Ended", end);
  }
  Field(out, "Generation",
        fmt::format("{}, {} restart{}", job.generation(), job.restarts(), job.restarts() == 1 ? "" : "s"));
  DescribeProgress(job, out);
  if (job.has_root_cause()) DescribeRootCause(job.root_cause(), now, color, out);
  if (job.ranks_size() > 0) {
    out += "Ranks\n";
    std::map<int32_t, const v1::RankHealth*> health;
    for (const v1::RankHealth& rank : job.rank_health()) health.emplace(rank.rank(), &rank);
    std::vector<Column> columns = {{"RANK", Align::kRight}, {"NODE"}, {"SLOT", Align::kRight}};
    if (!health.empty()) {
      columns.insert(columns.end(), {{"STEP", Align::kRight}, {"TOKENS/S", Align::kRight}, {"MFU", Align::kRight}});
      columns.push_back({"TIME"});
    }
    Table ranks(columns);
    for (const v1::RankPlacement& rank : job.ranks()) {
      std::vector<Cell> row = {{fmt::format("{}", rank.rank())}, {rank.node()}, {fmt::format("{}", rank.slot())}};
      if (const auto of_rank = health.find(rank.rank()); of_rank != health.end()) {
        AddHealth(*of_rank->second, row);
      } else if (!health.empty()) {
        row.insert(row.end(), 4, {"-"});
      }
      ranks.Add(std::move(row));
    }
    out += ranks.Format(color, 2);
  }
  if (!description.checkpoints.empty()) {
    const auto end = description.checkpoints.begin() +
                     static_cast<int64_t>(std::min(kShownCheckpoints, description.checkpoints.size()));
    out += fmt::format("Checkpoints ({})\n", description.checkpoints.size());
    out += CheckpointTable({description.checkpoints.begin(), end}, false, now, color, 2);
  }
  if (!description.events.empty()) {
    const auto begin =
        description.events.end() - static_cast<int64_t>(std::min(kShownEvents, description.events.size()));
    out += "Events\n" + EventTable({begin, description.events.end()}, now, color, 2);
  }
  out += "Spec\n";
  for (const absl::string_view line : absl::StrSplit(ToYaml(job.spec()), '\n', absl::SkipEmpty())) {
    out += "  " + std::string(line) + "\n";
  }
  return out;
}

}  // namespace bert::ctl
