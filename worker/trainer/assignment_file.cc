#include "worker/trainer/assignment_file.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bert/v1/worker.pb.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "worker/trainer/step_plan.h"

namespace bert::trainer {
namespace {

model::ModelConfig ReadModel(const v1::ModelSpec& spec) {
  model::ModelConfig config;
  config.norm = spec.norm() == v1::NORM_PLACEMENT_PRE_LN ? model::NormPlacement::kPreLn : model::NormPlacement::kPostLn;
  config.activation =
      spec.activation() == v1::ACTIVATION_GELU_TANH ? model::Activation::kGeluTanh : model::Activation::kGelu;
  config.hidden_size = spec.hidden_size();
  config.num_hidden_layers = spec.num_hidden_layers();
  config.num_attention_heads = spec.num_attention_heads();
  config.intermediate_size = spec.intermediate_size();
  config.max_position_embeddings = spec.max_position_embeddings();
  config.type_vocab_size = spec.type_vocab_size();
  config.hidden_dropout = spec.hidden_dropout();
  config.attention_dropout = spec.attention_dropout();
  config.layer_norm_eps = spec.layer_norm_eps();
  config.initializer_range = spec.initializer_range();
  // Jobs of earlier versions have none.
  if (spec.has_vocab_multiple()) config.vocab_multiple = spec.vocab_multiple();
  return config;
}

sampling::RowFormat ReadRowFormat(v1::RowFormat rows) {
  switch (rows) {
    case v1::ROW_FORMAT_TRUNCATE_PAD:
      return sampling::RowFormat::kTruncatePad;
    case v1::ROW_FORMAT_SENTENCE_PAIR:
      return sampling::RowFormat::kSentencePair;
    default:
      return sampling::RowFormat::kPacked;
  }
}

MaskingPlan ReadMasking(const v1::MaskingSpec& masking) {
  return {.probability = masking.probability(),
          .mask_share = masking.mask_share(),
          .random_share = masking.random_share(),
          .whole_word = masking.whole_word(),
          // Jobs of earlier versions have none.
          .ngram_max = masking.has_ngram_max() ? masking.ngram_max() : 1,
          .max_predictions_per_seq = masking.max_predictions_per_seq()};
}

Decay ReadDecay(v1::LearningRateDecay decay) {
  switch (decay) {
    case v1::LEARNING_RATE_DECAY_COSINE:
      return Decay::kCosine;
    case v1::LEARNING_RATE_DECAY_CONSTANT:
      return Decay::kConstant;
    default:
      return Decay::kLinear;
  }
}

// What the phases of a job are made of; the spec is complete, so that each has every field.
std::vector<PhasePlan> ReadPhases(const v1::TrainSpec& train) {
  std::vector<PhasePlan> phases;
  for (const v1::PhaseSpec& phase : train.phases()) {
    phases.push_back({.share = phase.share(),
                      .steps = phase.steps(),
                      .max_seq_len = phase.max_seq_len(),
                      .global_batch_size = phase.global_batch_size(),
                      .micro_batch_size = phase.micro_batch_size(),
                      .masking = ReadMasking(phase.masking()),
                      .learning_rate_scale = phase.learning_rate_scale()});
  }
  return phases;
}

JobPlan ReadPlan(const v1::JobSpec& spec) {
  JobPlan plan;
  plan.model = ReadModel(spec.model());
  plan.precision = spec.train().precision() == v1::PRECISION_BF16 ? model::Precision::kBf16 : model::Precision::kFp32;
  plan.dataset = spec.data().dataset();
  plan.dataset_digest = spec.data().dataset_digest();
  plan.max_seq_len = spec.data().max_seq_len();
  const v1::MaskingSpec& masking = spec.data().masking();
  plan.masking = ReadMasking(masking);
  plan.row_format = ReadRowFormat(spec.data().rows());
  plan.model.next_sentence = plan.row_format == sampling::RowFormat::kSentencePair;
  const v1::OptimizerSpec& optimizer = spec.train().optimizer();
  plan.optimizer = {.learning_rate = optimizer.learning_rate(),
                    .warmup_steps = optimizer.warmup_steps(),
                    .warmup_share = optimizer.warmup_share(),
                    .decay = ReadDecay(optimizer.decay()),
                    .final_share = optimizer.final_learning_rate_share(),
                    .beta1 = optimizer.beta1(),
                    .beta2 = optimizer.beta2(),
                    .epsilon = optimizer.epsilon(),
                    .weight_decay = optimizer.weight_decay(),
                    .max_grad_norm = optimizer.max_grad_norm()};
  plan.steps = spec.train().steps();
  plan.global_batch_size = spec.train().global_batch_size();
  plan.micro_batch_size = spec.train().micro_batch_size();
  const v1::DurationSpec& duration = spec.train().duration();
  plan.duration = {.rows = duration.rows(), .epochs = duration.epochs(), .tokens = duration.tokens()};
  plan.phases = ReadPhases(spec.train());
  if (plan.phases.empty()) plan.phases = PhasesOf(plan);
  const v1::BatchRampSpec& ramp = spec.train().batch_ramp();
  plan.batch_ramp = {.start = ramp.start(), .share = ramp.share(), .stages = ramp.stages()};
  plan.log_every_steps = spec.train().log_every_steps();
  plan.validation_every_steps = spec.validation().every_steps();
  plan.validation_rows = spec.validation().rows();
  plan.validation_samples = spec.validation().samples();
  plan.validation_target_loss = spec.validation().target_loss();
  plan.nonfinite_steps_max = spec.train().nonfinite_steps_max();
  plan.checkpoint_every_steps = spec.checkpoint().every_steps();
  plan.workers_max = spec.workers().max();
  plan.seed = spec.seed();
  plan.deterministic = spec.deterministic();
  return plan;
}

// The coordinator has checked the spec; these are what would divide by zero here.
absl::Status CheckPlan(const Assignment& assignment) {
  const JobPlan& plan = assignment.plan;
  const auto positive = [](int64_t value, const char* name) {
    return value > 0 ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrCat(name, " is ", value));
  };
  RETURN_IF_ERROR(positive(assignment.world_size, "world_size"));
  const DurationPlan& duration = plan.duration;
  if (duration.rows <= 0 && duration.tokens <= 0 && !(duration.epochs > 0)) {
    RETURN_IF_ERROR(positive(plan.steps, "train.steps"));
  }
  int32_t rows_min = std::numeric_limits<int32_t>::max();
  for (const PhasePlan& phase : plan.phases) {
    RETURN_IF_ERROR(positive(phase.global_batch_size, "train.global_batch_size"));
    RETURN_IF_ERROR(positive(phase.micro_batch_size, "train.micro_batch_size"));
    RETURN_IF_ERROR(positive(phase.max_seq_len, "data.max_seq_len"));
    rows_min = std::min(rows_min, phase.global_batch_size);
  }
  if (plan.batch_ramp.start > 0) {
    RETURN_IF_ERROR(positive(plan.batch_ramp.stages, "train.batch_ramp.stages"));
    rows_min = std::min(rows_min, plan.batch_ramp.start);
  }
  RETURN_IF_ERROR(positive(plan.log_every_steps, "train.log_every_steps"));
  RETURN_IF_ERROR(positive(plan.checkpoint_every_steps, "checkpoint.every_steps"));
  if (assignment.rank < 0 || assignment.rank >= assignment.world_size) {
    return absl::InvalidArgumentError(absl::StrCat("rank ", assignment.rank, " of ", assignment.world_size));
  }
  if (assignment.world_size > rows_min) {
    return absl::InvalidArgumentError(
        absl::StrCat(assignment.world_size, " ranks cannot share ", rows_min, " rows (train.global_batch_size)"));
  }
  if (plan.deterministic && (assignment.world_size > plan.workers_max || plan.workers_max > rows_min)) {
    return absl::InvalidArgumentError(
        absl::StrCat("deterministic: needs ranks <= workers.max <= train.global_batch_size; they are ",
                     assignment.world_size, ", ", plan.workers_max, " and ", rows_min));
  }
  if (assignment.job_id.empty()) return absl::InvalidArgumentError("job_id is empty");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Assignment> ParseAssignment(const std::string& json, const std::string& source) {
  v1::Assignment message;
  const auto parsed = google::protobuf::util::JsonStringToMessage(json, &message);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, " is not an assignment: ", std::string(parsed.message().data(), parsed.message().size())));
  }
  Assignment assignment;
  assignment.job_id = message.job_id();
  assignment.generation = message.generation();
  assignment.rank = message.rank();
  assignment.world_size = message.world_size();
  assignment.slot = message.slot();
  assignment.cuda = message.device() == v1::DEVICE_KIND_CUDA;
  assignment.plan = ReadPlan(message.spec());
  for (const v1::ResumePoint& point : message.resume_points()) {
    assignment.resume_points.push_back({point.step(), point.directory(), point.digest()});
  }
  assignment.loaders.assign(message.loaders().begin(), message.loaders().end());
  RETURN_IF_ERROR(Annotate(CheckPlan(assignment), source));
  return assignment;
}

absl::StatusOr<Assignment> ReadAssignmentFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string json, ReadFile(path));
  return ParseAssignment(json, path);
}

}  // namespace bert::trainer
