#include <gmock/gmock.h>

#include <limits>

#include "common/spec/job_spec.h"

namespace bert::spec {
namespace {

// What Validate says of a file; "" where it is valid.
std::string Problems(std::string_view yaml, const std::vector<std::string>& overrides = {}) {
  const auto parsed = ParseJobSpec(yaml, "job.yaml", overrides);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  const auto complete = Complete(parsed->spec, parsed->locations);
  EXPECT_TRUE(complete.ok()) << complete.status();
  const absl::Status status = Validate(*complete, parsed->locations);
  EXPECT_EQ(status.code(), status.ok() ? absl::StatusCode::kOk : absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

constexpr char kGood[] = "preset: tiny\ndata: {dataset: english}\n";

std::string With(const std::string& override_text) { return Problems(kGood, {override_text}); }

TEST(ValidationTest, AcceptsAGoodSpec) { EXPECT_EQ(Problems(kGood), ""); }

TEST(ValidationTest, CollectsAllProblemsWithTheirLines) {
  EXPECT_EQ(Problems(R"(name: Not Good
preset: tiny
workers:
  min: 4
  max: 2
model:
  hidden_size: 250
data:
  dataset: ../../etc
  max_seq_len: 1024
  masking:
    mask_share: 0.8
    random_share: 0.3
train:
  steps: 100
  global_batch_size: 1
  optimizer:
    warmup_steps: 100
checkpoint:
  keep_last: 0
)"),
            R"(job.yaml:20: checkpoint.keep_last: must be between 1 and 1000; it is 0
job.yaml:1: name: must be 1 to 40 lower-case letters, digits and '-', with no '-' at the ends; it is 'Not Good'
job.yaml:7: model.hidden_size: must be divisible by model.num_attention_heads (4); it is 250
job.yaml:10: data.max_seq_len: must be at most model.max_position_embeddings (512); it is 1024
job.yaml:12: data.masking.mask_share: and data.masking.random_share together must be at most 1; they are 0.8 and 0.3
job.yaml:9: data.dataset: must be the dataset's directory relative to the dataloader's --data-root, )"
            R"(without '..', such as 'english' or 'books/v2'
job.yaml:4: workers.min: must be at most workers.max (2); it is 4
job.yaml:16: train.global_batch_size: must be at least workers.max (2), a row for each; it is 1
job.yaml:18: train.optimizer.warmup_steps: must be less than train.steps (100); it is 100)");
}

TEST(ValidationTest, NamesWhatIsMissing) {
  EXPECT_EQ(Problems("preset: tiny\n"),
            "job.yaml: data.dataset: is required: the dataset's directory relative to the dataloader's --data-root");
  EXPECT_THAT(Problems("data: {dataset: a}\n"),
              testing::StartsWith("job.yaml: model.hidden_size: is required; give it, or a preset (bert-base, "));
}

TEST(ValidationTest, PointsAtTheFieldThatWasGivenWhereThePresetSetTheOther) {
  EXPECT_EQ(Problems("preset: bert-base\ndata: {dataset: a}\ntrain:\n  steps: 500\n"),
            "job.yaml:4: train.optimizer.warmup_steps: must be less than train.steps (500); it is 10000");
}

TEST(ValidationTest, HasNoLocationWithoutAFile) {
  v1::JobSpec spec = *Complete(ParseJobSpec(kGood, "job.yaml")->spec);
  spec.mutable_workers()->set_min(0);
  spec.mutable_train()->mutable_optimizer()->set_learning_rate(std::numeric_limits<double>::quiet_NaN());
  spec.mutable_model()->set_norm(static_cast<v1::NormPlacement>(77));
  EXPECT_EQ(Validate(spec).message(),
            "workers.min: must be between 1 and 4096; it is 0\n"
            "model.norm: must be one of post_ln, pre_ln\n"
            "train.optimizer.learning_rate: must be more than 0 and at most 10; it is nan");
}

TEST(ValidationTest, ARowIsNoLongerThanADataloaderCanCount) {
  const std::string position = "model.max_position_embeddings=65536";
  EXPECT_EQ(Problems(kGood, {position, "data.max_seq_len=65535"}), "");
  EXPECT_THAT(Problems(kGood, {position, "data.max_seq_len=65536"}), testing::HasSubstr("between 8 and 65535"));
}

TEST(ValidationTest, HoldsEveryBound) {
  for (const char* override_text : {"priority=1001",
                                    "workers.min=0",
                                    "workers.max=0",
                                    "workers.max=5000",
                                    "model.hidden_size=0",
                                    "model.num_hidden_layers=0",
                                    "model.num_attention_heads=0",
                                    "model.num_attention_heads=3",
                                    "model.intermediate_size=-1",
                                    "model.max_position_embeddings=7",
                                    "model.type_vocab_size=0",
                                    "model.hidden_dropout=1",
                                    "model.hidden_dropout=-0.1",
                                    "model.attention_dropout=1",
                                    "model.layer_norm_eps=0",
                                    "model.initializer_range=0",
                                    "model.vocab_multiple=0",
                                    "data.max_seq_len=7",
                                    "data.max_seq_len=513",
                                    "data.masking.probability=0",
                                    "data.masking.probability=1.1",
                                    "data.masking.mask_share=-0.1",
                                    "data.masking.mask_share=1",
                                    "data.masking.random_share=1.1",
                                    "data.masking.ngram_max=0",
                                    "data.masking.ngram_max=17",
                                    "data.masking.max_predictions_per_seq=-1",
                                    "train.steps=0",
                                    "train.steps=1000000001",
                                    "train.global_batch_size=0",
                                    "train.micro_batch_size=0",
                                    "train.optimizer.learning_rate=0",
                                    "train.optimizer.learning_rate=11",
                                    "train.optimizer.warmup_steps=-1",
                                    "train.optimizer.warmup_steps=2000",
                                    "train.optimizer.beta1=1",
                                    "train.optimizer.beta2=-1",
                                    "train.optimizer.epsilon=0",
                                    "train.optimizer.weight_decay=-1",
                                    "train.optimizer.max_grad_norm=-1",
                                    "train.log_every_steps=0",
                                    "train.optimizer.warmup_share=1",
                                    "train.optimizer.final_learning_rate_share=1.1",
                                    "train.duration.rows=0",
                                    "train.duration.epochs=0",
                                    "train.duration.tokens=-1",
                                    "validation.every_steps=-1",
                                    "validation.rows=-1",
                                    "checkpoint.every_steps=0",
                                    "checkpoint.keep_last=0",
                                    "restarts.max=-1",
                                    "restarts.max_without_progress=-1",
                                    "data.dataset_digest=md5:1",
                                    "data.dataset_digest=xxh128:0123456789abcdef0123456789abcdeg",
                                    "data.dataset_digest=xxh128:0123456789abcdef0123456789abcde",
                                    "name=-a",
                                    "name=a-",
                                    "name=a_b",
                                    "name=a234567890123456789012345678901234567890x"}) {
    const std::string field(override_text, std::string_view(override_text).find('='));
    EXPECT_THAT(With(override_text), testing::HasSubstr(std::string("--set ") + override_text)) << override_text;
  }
}

TEST(ValidationTest, AcceptsTheEdges) {
  for (const char* override_text :
       {"name=a", "name=a234567890123456789012345678901234567890", "data.max_seq_len=512", "data.max_seq_len=8",
        "data.masking.mask_share=0.9", "data.masking.ngram_max=3", "data.masking.max_predictions_per_seq=20",
        "data.rows=truncate_pad", "data.rows=sentence_pair", "train.optimizer.warmup_steps=0",
        "train.optimizer.max_grad_norm=0", "validation.every_steps=0", "validation.rows=0", "restarts.max=0",
        "train.micro_batch_size=65536", "data.dataset_digest=xxh128:0123456789abcdef0123456789abcdef",
        "workers.max=64"}) {
    EXPECT_EQ(With(override_text), "") << override_text;
  }
}

TEST(ValidationTest, PairsNeedATypeForEachPart) {
  EXPECT_EQ(Problems(kGood, {"data.rows=sentence_pair", "model.type_vocab_size=1"}),
            "--set model.type_vocab_size=1: model.type_vocab_size: must be at least 2 with data.rows sentence_pair, a "
            "type for each part; it is 1");
}

TEST(ValidationTest, TakesOneLength) {
  EXPECT_EQ(With("train.duration.epochs=3"), "");
  EXPECT_EQ(Problems(kGood, {"train.duration.epochs=3", "train.duration.rows=100"}),
            "--set train.duration.rows=100: train.duration: must hold one of rows, epochs and tokens; it holds 2");
  EXPECT_EQ(Problems("preset: tiny\ndata: {dataset: a}\ntrain:\n  steps: 5\n  duration: {rows: 9}\n"),
            "job.yaml:5: train.duration: and train.steps are both given; give one");
  EXPECT_EQ(Problems(kGood, {"train.optimizer.warmup_steps=3", "train.optimizer.warmup_share=0.1"}),
            "--set train.optimizer.warmup_steps=3: train.optimizer.warmup_steps: and train.optimizer.warmup_share are "
            "both given; give one");
}

constexpr char kPhases[] = R"(preset: tiny
data: {dataset: english}
train:
  phases:
    - share: 0.9
      max_seq_len: 64
    - share: 0.1
      max_seq_len: 256
      masking: {probability: 0.3}
)";

TEST(ValidationTest, AcceptsPhases) {
  EXPECT_EQ(Problems(kPhases), "");
  EXPECT_EQ(Problems(kPhases, {"train.duration.epochs=2.5"}), "");
  EXPECT_EQ(Problems("preset: tiny\ndata: {dataset: a}\ntrain: {phases: [{steps: 30}, {steps: 12}]}\n"), "");
}

TEST(ValidationTest, NamesTheItemOfAList) {
  std::string yaml = kPhases;
  const auto with = [&](std::string_view from, std::string_view to) {
    std::string changed = yaml;
    changed.replace(changed.find(from), from.size(), to);
    return Problems(changed);
  };
  EXPECT_EQ(with("max_seq_len: 256", "max_seq_len: 1024"),
            "job.yaml:8: train.phases[1].max_seq_len: must be at most model.max_position_embeddings (512); it is 1024");
  EXPECT_EQ(with("probability: 0.3", "probability: 0"),
            "job.yaml:9: train.phases[1].masking.probability: must be more than 0 and at most 1; it is 0");
  EXPECT_EQ(with("share: 0.1", "share: 0.2"),
            "job.yaml:4: train.phases: must have shares that add up to 1; they add up to 1.1");
  EXPECT_EQ(with("share: 0.1", "steps: 10"), "job.yaml:4: train.phases: must have a share each, or steps each");
  EXPECT_EQ(with("share: 0.1", "global_batch_size: 8"),
            "job.yaml:4: train.phases: must have a share each, or steps each");
}

TEST(ValidationTest, PhasesInStepsAddUp) {
  EXPECT_EQ(Problems("preset: tiny\ndata: {dataset: a}\ntrain:\n  steps: 50\n  phases: [{steps: 30}, {steps: 12}]\n"),
            "job.yaml:5: train.phases: must have as many steps together as train.steps (50); they have 42");
  EXPECT_EQ(Problems("preset: tiny\ndata: {dataset: a}\ntrain:\n  duration: {rows: 50}\n  phases: [{steps: 30}]\n"),
            "job.yaml:5: train.phases: must have shares where train.duration says how long");
}

TEST(ValidationTest, ARampBeginsBetweenTheRanksAndTheBatch) {
  EXPECT_EQ(With("train.batch_ramp.start=8"), "");
  EXPECT_EQ(
      With("train.batch_ramp.start=65"),
      "--set train.batch_ramp.start=65: train.batch_ramp.start: must be at most the global batch (64 rows); it is "
      "65");
  EXPECT_EQ(Problems(kGood, {"train.batch_ramp.start=2", "workers.max=3"}),
            "--set train.batch_ramp.start=2: train.batch_ramp.start: must be at least workers.max (3), a row for each; "
            "it is 2");
}

TEST(ValidationTest, KeepsDatasetsInsideTheDataRoot) {
  for (const char* path : {"/etc", "..", "a/../b", "a//b", "a/", "./a", "a\\b", "."}) {
    EXPECT_THAT(With(std::string("data.dataset=") + path), testing::HasSubstr("data.dataset: must be")) << path;
  }
  for (const char* path : {"english", "books/v2", "a..b", "..a"}) {
    EXPECT_EQ(With(std::string("data.dataset=") + path), "") << path;
  }
}

}  // namespace
}  // namespace bert::spec
