#include <gmock/gmock.h>

#include "common/spec/job_spec.h"
#include "google/protobuf/util/message_differencer.h"

namespace bert::spec {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::ElementsAre;

v1::JobSpec CompleteYaml(std::string_view yaml) {
  const auto parsed = ParseJobSpec(yaml, "job.yaml");
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  const auto complete = Complete(parsed->spec, parsed->locations);
  EXPECT_TRUE(complete.ok()) << complete.status();
  return *complete;
}

TEST(CompletionTest, EveryPresetIsValidOnceItHasADataset) {
  EXPECT_THAT(PresetNames(),
              ElementsAre("bert-base", "bert-base-pre-ln", "bert-large", "bert-large-pre-ln", "fast", "tiny"));
  for (const std::string& name : PresetNames()) {
    const v1::JobSpec spec = CompleteYaml("preset: " + name + "\ndata: {dataset: english}\n");
    EXPECT_EQ(Validate(spec), absl::OkStatus()) << name;
    EXPECT_EQ(spec.name(), name);
  }
}

TEST(CompletionTest, BertBaseIsTheOriginal) {
  EXPECT_EQ(ToYaml(CompleteYaml("preset: bert-base\n")), R"(name: bert-base
preset: bert-base
priority: 0
workers:
  min: 1
  max: 1
model:
  norm: post_ln
  hidden_size: 768
  num_hidden_layers: 12
  num_attention_heads: 12
  intermediate_size: 3072
  max_position_embeddings: 512
  type_vocab_size: 2
  activation: gelu
  hidden_dropout: 0.1
  attention_dropout: 0.1
  layer_norm_eps: 1e-12
  initializer_range: 0.02
  vocab_multiple: 1
data:
  max_seq_len: 128
  masking:
    probability: 0.15
    mask_share: 0.8
    random_share: 0.1
    whole_word: true
    ngram_max: 1
    max_predictions_per_seq: 0
  rows: packed
train:
  steps: 1000000
  global_batch_size: 256
  micro_batch_size: 32
  precision: bf16
  optimizer:
    learning_rate: 0.0001
    warmup_steps: 10000
    beta1: 0.9
    beta2: 0.999
    epsilon: 1e-6
    weight_decay: 0.01
    max_grad_norm: 1
    decay: linear
    final_learning_rate_share: 0
  log_every_steps: 100
  nonfinite_steps_max: 10
validation:
  every_steps: 5000
  rows: 4096
  samples: 3
  target_loss: 0
checkpoint:
  every_steps: 5000
  keep_last: 3
restarts:
  max_without_progress: 3
  max: 100
seed: 1
deterministic: false
)");
}

TEST(CompletionTest, TheOthersDifferWhereTheyShould) {
  const v1::JobSpec pre_ln = CompleteYaml("preset: bert-base-pre-ln\n");
  EXPECT_EQ(pre_ln.model().norm(), v1::NORM_PLACEMENT_PRE_LN);
  EXPECT_EQ(pre_ln.train().micro_batch_size(), 128);
  EXPECT_EQ(pre_ln.train().global_batch_size(), 256);
  EXPECT_EQ(pre_ln.train().optimizer().learning_rate(), 3e-4);
  const v1::JobSpec large = CompleteYaml("preset: bert-large\n");
  EXPECT_EQ(large.model().num_hidden_layers(), 24);
  EXPECT_EQ(large.model().hidden_size(), 1024);
  const v1::JobSpec tiny = CompleteYaml("preset: tiny\n");
  EXPECT_EQ(tiny.model().hidden_dropout(), 0);
  EXPECT_EQ(tiny.train().optimizer().warmup_steps(), tiny.train().steps() / 10);
}

TEST(CompletionTest, AnExplicitZeroOverridesThePreset) {
  const v1::JobSpec spec = CompleteYaml("preset: bert-base\nmodel: {hidden_dropout: 0}\n");
  EXPECT_EQ(spec.model().hidden_dropout(), 0);
  EXPECT_EQ(spec.model().attention_dropout(), 0.1);
}

TEST(CompletionTest, DerivesWhatFollowsFromOtherFields) {
  const v1::JobSpec spec = CompleteYaml(R"(workers: {min: 3}
model: {hidden_size: 100}
data: {max_seq_len: 1024}
train: {steps: 500, global_batch_size: 10}
)");
  EXPECT_EQ(spec.name(), "job");
  EXPECT_EQ(spec.workers().max(), 3);
  EXPECT_EQ(spec.model().intermediate_size(), 400);
  EXPECT_EQ(spec.model().max_position_embeddings(), 1024);
  EXPECT_EQ(spec.train().micro_batch_size(), 4);
  EXPECT_EQ(spec.train().optimizer().warmup_steps(), 50);
}

TEST(CompletionTest, WhatAJobGivesReplacesWhatItsPresetSaysOtherwise) {
  const v1::JobSpec epochs = CompleteYaml("preset: bert-base\ntrain: {duration: {epochs: 3}}\n");
  EXPECT_FALSE(epochs.train().has_steps());
  EXPECT_EQ(epochs.train().duration().epochs(), 3);
  EXPECT_EQ(epochs.train().optimizer().warmup_steps(), 10000);
  const v1::JobSpec share = CompleteYaml("preset: bert-base\ntrain: {optimizer: {warmup_share: 0.06}}\n");
  EXPECT_FALSE(share.train().optimizer().has_warmup_steps());
  const v1::JobSpec steps = CompleteYaml("preset: fast\ntrain: {optimizer: {warmup_steps: 7}}\n");
  EXPECT_FALSE(steps.train().optimizer().has_warmup_share());
  EXPECT_EQ(CompleteYaml("train: {duration: {rows: 9}}\n").train().optimizer().warmup_share(), 0.1);
}

TEST(CompletionTest, GivesPhasesWhatTheyLeaveOut) {
  const v1::JobSpec spec = CompleteYaml(R"(preset: bert-base
train:
  phases:
    - {share: 0.9}
    - {share: 0.1, max_seq_len: 1024, global_batch_size: 64, masking: {max_predictions_per_seq: 80}}
)");
  ASSERT_EQ(spec.train().phases_size(), 2);
  const v1::PhaseSpec& first = spec.train().phases(0);
  EXPECT_EQ(first.max_seq_len(), 128);
  EXPECT_EQ(first.global_batch_size(), 256);
  EXPECT_EQ(first.micro_batch_size(), 32);
  EXPECT_EQ(first.learning_rate_scale(), 1);
  EXPECT_EQ(first.masking().probability(), 0.15);
  const v1::PhaseSpec& second = spec.train().phases(1);
  EXPECT_EQ(second.global_batch_size(), 64);
  EXPECT_EQ(second.micro_batch_size(), 4) << "as many places as 32 rows of 128";
  EXPECT_EQ(second.masking().probability(), 0.15);
  EXPECT_EQ(second.masking().max_predictions_per_seq(), 80);
  EXPECT_EQ(spec.model().max_position_embeddings(), 512) << "the preset says so";
  const v1::JobSpec counted = CompleteYaml("preset: bert-base\ntrain: {phases: [{steps: 30}, {steps: 12}]}\n");
  EXPECT_EQ(counted.train().steps(), 42);
}

TEST(CompletionTest, CompletingTwiceChangesNothing) {
  for (const char* yaml :
       {"preset: tiny\nworkers: {max: 4}\n", "name: a\n", "train: {steps: 7}\n", "preset: fast\n",
        "preset: bert-base\ntrain: {duration: {epochs: 2}, phases: [{share: 1}]}\n",
        "preset: bert-base\ntrain: {phases: [{steps: 30}, {steps: 12}], batch_ramp: {start: 8}}\n"}) {
    const v1::JobSpec once = CompleteYaml(yaml);
    const auto twice = Complete(once);
    ASSERT_TRUE(twice.ok());
    EXPECT_TRUE(MessageDifferencer::Equals(once, *twice)) << yaml;
  }
}

TEST(CompletionTest, NamesTheNearestPreset) {
  const auto parsed = ParseJobSpec("name: a\npreset: tinny\n", "job.yaml");
  EXPECT_EQ(Complete(parsed->spec, parsed->locations).status().message(),
            "job.yaml:2: preset: must be one of bert-base, bert-base-pre-ln, bert-large, bert-large-pre-ln, fast, "
            "tiny; it is 'tinny'; "
            "did you mean 'tiny'?");
}

}  // namespace
}  // namespace bert::spec
