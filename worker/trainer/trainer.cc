#include "worker/trainer/trainer.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <exception>
#include <optional>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/backoff.h"
#include "common/clock.h"
#include "common/entropy.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "worker/collective/collective.h"
#include "worker/model/cpu/memory.h"
#include "worker/model/cpu/parallel.h"
#include "worker/model/masked_lm.h"
#include "worker/trainer/adamw.h"
#include "worker/trainer/checkpoint_writer.h"
#include "worker/trainer/log_line.h"
#include "worker/trainer/peak_flops.h"
#include "worker/trainer/progress_reporter.h"
#include "worker/trainer/restore.h"
#include "worker/trainer/training_loop.h"

namespace bert::trainer {
namespace {

constexpr absl::Duration kRetryInitial = absl::Milliseconds(100);
constexpr absl::Duration kRetryMax = absl::Seconds(2);
// Of an end that the agent's grace period bounds.
constexpr absl::Duration kCleanupTimeout = absl::Seconds(4);
// Between two looks at whether the checkpoint is still wanted.
constexpr absl::Duration kReportTimeout = absl::Seconds(1);
constexpr int kExitError = 1;

// Again while the coordinator does not answer. Where it says that not all ranks came, the others are what failed.
absl::StatusOr<Rendezvous> JoinRendezvous(Coordinator& coordinator, const std::string& store_address) {
  Backoff backoff(kRetryInitial, kRetryMax, RandomSeed());
  while (true) {
    absl::StatusOr<Rendezvous> answer = coordinator.JoinRendezvous(store_address);
    if (answer.ok()) return answer;
    if (answer.status().code() == absl::StatusCode::kDeadlineExceeded) {
      return absl::UnavailableError(absl::StrCat("peer lost in rendezvous: ", answer.status().message()));
    }
    if (!IsTransient(answer.status())) return answer.status();
    absl::SleepFor(backoff.Next());
  }
}

absl::StatusOr<std::unique_ptr<collective::Collective>> JoinGroup(const TrainerOptions& options) {
  const Assignment& assignment = options.assignment;
  // Serves until all are connected; the group then has connections of its own.
  std::unique_ptr<collective::Store> store;
  if (assignment.rank == 0) {
    ASSIGN_OR_RETURN(store, collective::Store::Start(options.address));
  }
  ASSIGN_OR_RETURN(const Rendezvous rendezvous,
                   JoinRendezvous(*options.coordinator, store == nullptr ? "" : store->address()));
  if (rendezvous.world_size != assignment.world_size) {
    return absl::InternalError(absl::StrCat("the rendezvous is of ", rendezvous.world_size,
                                            " ranks, the assignment of ", assignment.world_size));
  }
  ASSIGN_OR_RETURN(
      std::unique_ptr<collective::Collective> group,
      collective::Connect({.rank = assignment.rank,
                           .world_size = assignment.world_size,
                           .backend = assignment.cuda ? collective::Backend::kNccl : collective::Backend::kGloo,
                           .address = options.address,
                           .store_address = rendezvous.store_address,
                           .timeout = options.collective_timeout}));
  RETURN_IF_ERROR(group->Barrier());
  return group;
}

TrainingState StateOf(const Assignment& assignment, const DatasetDescription& dataset) {
  const JobPlan& plan = assignment.plan;
  return {.job_id = assignment.job_id,
          .step = 0,
          .seed = plan.seed,
          .total_steps = plan.steps,
          .warmup_steps = plan.optimizer.warmup_steps,
          .learning_rate = plan.optimizer.learning_rate,
          .global_batch_size = plan.global_batch_size,
          .max_seq_len = plan.max_seq_len,
          .deterministic = plan.deterministic,
          .lanes = plan.workers_max,
          .dataset = plan.dataset,
          .dataset_digest = dataset.digest};
}

void LogStart(const Assignment& assignment, const DatasetDescription& dataset, int64_t parameters, int64_t first_step) {
  const JobPlan& plan = assignment.plan;
  LogInfo(absl::StrFormat(
      "training job=%s generation=%d from step %d/%d: %.1f M parameters, %s, %d rank%s, %d rows a step in "
      "micro-batches of %d, %d rows an epoch, %d validation rows, unigram baseline loss %.4f%s",
      assignment.job_id, assignment.generation, first_step, plan.steps, static_cast<double>(parameters) / 1e6,
      plan.precision == model::Precision::kBf16 ? "bf16" : "fp32", assignment.world_size,
      assignment.world_size == 1 ? "" : "s", plan.global_batch_size, plan.micro_batch_size, dataset.train_rows,
      ValidationRows(plan, dataset), dataset.unigram_cross_entropy, plan.deterministic ? ", deterministic" : ""));
  if (dataset.validation_rows == 0) LogWarning("the dataset has no validation split: nothing is validated");
}

// What earlier generations have left. Where that fails the next generation tries again: no reason not to train.
void RemoveLeftovers(const TrainerOptions& options, const std::string& job_directory) {
  const int64_t generation = options.assignment.generation;
  if (generation <= 1) return;
  const auto remove = [&]() -> absl::Status {
    RETURN_IF_ERROR(RemoveTemporaries(job_directory, generation));
    ASSIGN_OR_RETURN(const std::vector<std::string> committed, options.coordinator->CommittedDirectories());
    return RemoveUncommitted(job_directory, generation, committed);
  };
  if (const absl::Status removed = remove(); !removed.ok()) {
    LogWarning(absl::StrCat("what earlier generations left in ", job_directory, " stays: ", removed.message()));
  }
}

std::unique_ptr<CheckpointWriter> MakeCheckpointWriter(const TrainerOptions& options, const std::string& job_directory,
                                                       const DatasetDescription& dataset, model::MaskedLm& model,
                                                       ProgressReporter& reporter, record::TrainingRecord& record) {
  auto writer = std::make_unique<CheckpointWriter>(
      options.coordinator, CheckpointWriter::Options{.job_directory = job_directory,
                                                     .generation = options.assignment.generation,
                                                     .config = model.config(),
                                                     .infos = model.parameters().infos(),
                                                     .tokenizer_files = dataset.tokenizer_files,
                                                     .steps_reported = [&reporter, &record](int64_t step) {
                                                       // Who resumes there does not compute its curves again.
                                                       record.Flush(kReportTimeout).IgnoreError();
                                                       return reporter.FlushUpTo(step, kReportTimeout).ok();
                                                     }});
  options.end->SetCleanup([writer = writer.get()] { writer->Cancel(kCleanupTimeout); });
  return writer;
}

absl::Status Run(const TrainerOptions& options) {
  const Assignment& assignment = options.assignment;
  JobPlan plan = assignment.plan;
  const bool first_rank = assignment.rank == 0;
  model::cpu::FlushDenormals();
  if (!assignment.cuda) model::cpu::KeepFreedMemory();
  if (options.threads > 0) at::set_num_threads(options.threads);
  // Some sums on CUDA devices are in the order in which threads arrive, unless Torch is told otherwise.
  if (assignment.cuda && plan.deterministic) {
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  }

  // A checkpoint root that cannot be written is better known before the first step than after the last.
  const std::string job_directory = absl::StrCat(options.checkpoint_root, "/", assignment.job_id);
  if (first_rank) {
    RETURN_IF_ERROR(MakeDirectories(job_directory));
    RETURN_IF_ERROR(SyncDirectory(options.checkpoint_root));
    RemoveLeftovers(options, job_directory);
  }

  ASSIGN_OR_RETURN(const std::unique_ptr<collective::Collective> group, JoinGroup(options));
  StepTime time(&RealClock());
  ProgressReporter reporter(
      options.coordinator, &time,
      {.on_loaders = [&](const std::vector<std::string>& loaders) { options.loaders->Update(loaders); },
       .on_stale =
           [&](const absl::Status& status) {
             options.end->Now(kExitError, absl::StrCat("the coordinator has moved on: ", status.message()));
           }});

  ASSIGN_OR_RETURN(const DatasetDescription dataset, options.describe_dataset());
  plan.model.vocab_size = dataset.vocab_size;
  plan.model.pad_token_id = dataset.pad_id;
  const OpenBatchSource open_batches = [&](const RowRange& range) { return options.open_batches(dataset, range); };
  ASSIGN_OR_RETURN(
      const std::unique_ptr<model::MaskedLm> model,
      model::MaskedLm::Create(plan.model, plan.precision, assignment.cuda ? at::Device("cuda:0") : at::Device("cpu")));
  AdamW optimizer(&model->parameters(), {.beta1 = plan.optimizer.beta1,
                                         .beta2 = plan.optimizer.beta2,
                                         .epsilon = plan.optimizer.epsilon,
                                         .weight_decay = plan.optimizer.weight_decay});
  const TrainingState state = StateOf(assignment, dataset);
  ASSIGN_OR_RETURN(const int64_t first_step, Restore(assignment.resume_points, state, *model, optimizer, *group));
  if (first_rank) LogStart(assignment, dataset, model->parameters().size(), first_step);

  const double peak_flops = PeakFlops(assignment.cuda, plan.precision);
  if (first_rank && peak_flops > 0) {
    LogInfo(absl::StrFormat("this rank's device multiplies at %.3f TFLOP/s", peak_flops / 1e12));
  }

  std::optional<record::TrainingRecord> record;
  std::unique_ptr<CheckpointWriter> checkpoints;
  if (first_rank) {
    record.emplace(record::TrainingRecord::Options{.directory = job_directory,
                                                   .generation = assignment.generation,
                                                   .first_step = first_step,
                                                   .unigram_cross_entropy = dataset.unigram_cross_entropy});
    checkpoints = MakeCheckpointWriter(options, job_directory, dataset, *model, reporter, *record);
  }
  const absl::Cleanup forget_writer = [&] { options.end->SetCleanup(nullptr); };
  return Train({.plan = plan,
                .dataset = dataset,
                .state = state,
                .model = *model,
                .optimizer = optimizer,
                .group = *group,
                .open_batches = open_batches,
                .reporter = reporter,
                .time = time,
                .checkpoints = checkpoints.get(),
                .record = record.has_value() ? &*record : nullptr,
                .peak_flops = peak_flops,
                .first_step = first_step})
      .status();
}

}  // namespace

absl::Status RunTrainer(const TrainerOptions& options) {
#ifndef BERT_CUDA
  if (options.assignment.cuda) {
    return absl::InvalidArgumentError("this bert-trainer is built for CPUs only; build preset cuda");
  }
#endif
  try {
    return Run(options);
  } catch (const c10::Error& error) {
    return absl::InternalError(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

}  // namespace bert::trainer
