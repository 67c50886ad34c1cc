// A Coordinator on a simulated clock and disk, for tests.
#ifndef BERT_COORDINATOR_COORDINATOR_RIG_H_
#define BERT_COORDINATOR_COORDINATOR_RIG_H_

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "coordinator/coordinator.h"
#include "coordinator/memory_journal.h"

namespace bert::coordinator {

// A history that survives restarts and forgets nothing.
class MemoryHistory : public HistorySink {
 public:
  absl::Status AddProgress(ProgressReport report) override {
    if (full) return absl::UnavailableError("full");
    JobProgress& job = progress[report.job];
    if (!report.steps.empty() && job.last_validation.has_value() && job.validation_generation < report.generation &&
        job.last_validation->step() >= report.steps.front().step()) {
      job.last_validation.reset();
      job.validation_generation = 0;
    }
    if (!report.steps.empty()) {
      job.last_step = report.steps.back();
      job.step_generation = report.generation;
    }
    if (!report.validations.empty()) {
      job.last_validation = report.validations.back();
      job.validation_generation = report.generation;
    }
    for (const v1::StepMetrics& step : report.steps) steps[report.job].push_back(step.step());
    return absl::OkStatus();
  }
  void AddEvents(std::vector<std::pair<JobId, v1::JobEvent>> added) override {
    for (auto& event : added) events[event.first].push_back(event.second.type());
  }

  bool full = false;
  std::map<JobId, JobProgress> progress;
  std::map<JobId, std::vector<int64_t>> steps;
  std::map<JobId, std::vector<std::string>> events;
};

struct CoordinatorRig {
  explicit CoordinatorRig(absl::Time start = absl::FromUnixSeconds(1'700'000'000)) : clock(start) { Restart(); }

  // As after a crash: only disk and history remain.
  void Restart() {
    coordinator = nullptr;
    journal = std::make_unique<MemoryJournal>(&disk);
    Coordinator::Options options;
    options.random_token = [this](int) { return absl::StrCat("t", ++tokens); };
    auto recovered = Coordinator::Recover(
        std::move(options), {.journal = journal.get(), .history = &history, .clock = &clock, .metrics = &metrics},
        history.progress);
    ASSERT_TRUE(recovered.ok()) << recovered.status();
    coordinator = *std::move(recovered);
  }

  // In steps of a tenth of a second, as the ticker does. Nodes and loaders that are not kept alive lose their lease.
  void Pass(absl::Duration time) {
    for (absl::Duration passed; passed < time; passed += absl::Milliseconds(100)) {
      clock.Advance(absl::Milliseconds(100));
      coordinator->Tick().IgnoreError();
    }
  }

  SimulatedClock clock;
  MemoryDisk disk;
  MemoryHistory history;
  CoordinatorMetrics metrics;
  std::unique_ptr<MemoryJournal> journal;
  std::unique_ptr<Coordinator> coordinator;
  int tokens = 0;
};

inline v1::SubmitJobRequest SubmitRequest(int32_t min, int32_t max, const std::string& request_id = "") {
  v1::SubmitJobRequest request;
  request.set_request_id(request_id);
  v1::JobSpec& spec = *request.mutable_spec();
  spec.set_name("job");
  spec.set_preset("tiny");
  spec.mutable_data()->set_dataset("english");
  spec.mutable_workers()->set_min(min);
  spec.mutable_workers()->set_max(max);
  return request;
}

inline v1::RegisterNodeRequest RegisterRequest(const std::string& node, const std::string& incarnation, int slots) {
  v1::RegisterNodeRequest request;
  request.set_node(node);
  request.set_incarnation(incarnation);
  for (int i = 0; i < slots; ++i) {
    request.add_slots()->set_index(i);
    request.mutable_slots(i)->set_device(v1::DEVICE_KIND_CPU);
  }
  return request;
}

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_COORDINATOR_RIG_H_
