#include <gmock/gmock.h>

#include <limits>

#include "common/spec/job_spec.h"
#include "google/protobuf/util/message_differencer.h"

namespace bert::spec {
namespace {

using google::protobuf::util::MessageDifferencer;

// The problems of a text that must not parse.
std::string Problems(std::string_view yaml, const std::vector<std::string>& overrides = {}) {
  const absl::StatusOr<ParsedSpec> parsed = ParseJobSpec(yaml, "job.yaml", overrides);
  if (parsed.ok()) return "parsed:\n" + ToYaml(parsed->spec);
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(parsed.status().message());
}

v1::JobSpec Parse(std::string_view yaml, const std::vector<std::string>& overrides = {}) {
  const absl::StatusOr<ParsedSpec> parsed = ParseJobSpec(yaml, "job.yaml", overrides);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.ok() ? parsed->spec : v1::JobSpec();
}

TEST(YamlTest, ReadsEveryKindOfField) {
  const v1::JobSpec spec = Parse(R"(# a comment
name: "a-job"
preset: tiny
priority: -3
workers: {min: 1, max: 4}
model:
  norm: post_ln
  hidden_dropout: 0
train:
  steps: 9223372036854775807
  optimizer:
    learning_rate: 3e-4
    epsilon: .5
seed: 18446744073709551615
deterministic: true
)");
  EXPECT_EQ(spec.name(), "a-job");
  EXPECT_EQ(spec.priority(), -3);
  EXPECT_EQ(spec.workers().max(), 4);
  EXPECT_EQ(spec.model().norm(), v1::NORM_PLACEMENT_POST_LN);
  EXPECT_TRUE(spec.model().has_hidden_dropout());
  EXPECT_EQ(spec.train().steps(), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(spec.train().optimizer().learning_rate(), 3e-4);
  EXPECT_EQ(spec.train().optimizer().epsilon(), 0.5);
  EXPECT_EQ(spec.seed(), std::numeric_limits<uint64_t>::max());
  EXPECT_TRUE(spec.deterministic());
}

TEST(YamlTest, RemembersWhereFieldsWereGiven) {
  const auto parsed = ParseJobSpec("name: a\ntrain:\n  steps: 5\n", "job.yaml", {"seed=7"});
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->locations, (FieldLocations{{"", "job.yaml"},
                                               {"name", "job.yaml:1"},
                                               {"train", "job.yaml:2"},
                                               {"train.steps", "job.yaml:3"},
                                               {"seed", "--set seed=7"}}));
}

TEST(YamlTest, CollectsAllErrorsOfAFile) {
  EXPECT_EQ(Problems(R"(name: a
presett: tiny
workers:
  min: two
train:
  stepz: 100
  steps: 010
  precision: bf61
  optimizer:
    learning_rate: fast
deterministic: yes
)"),
            R"(job.yaml:2: presett: unknown field; did you mean 'preset'?
job.yaml:4: workers.min: must be a whole number in digits only; it is 'two'
job.yaml:6: train.stepz: unknown field; did you mean 'train.steps'?
job.yaml:7: train.steps: must be a whole number without leading zeros; it is '010'
job.yaml:8: train.precision: must be one of fp32, bf16; it is 'bf61'; did you mean 'bf16'?
job.yaml:10: train.optimizer.learning_rate: must be a decimal number such as 0.1 or 1e-4; it is 'fast'
job.yaml:11: deterministic: must be true or false; it is 'yes')");
}

TEST(YamlTest, NamesTheRightPlaceOfAMisplacedField) {
  EXPECT_EQ(Problems("learning_rate: 1e-4\n"),
            "job.yaml:1: learning_rate: unknown field; did you mean 'train.optimizer.learning_rate'?");
  EXPECT_EQ(Problems("workers:\n  colour: red\n"),
            "job.yaml:2: workers.colour: unknown field; 'workers' has: min, max");
}

TEST(YamlTest, ReadsAndWritesLists) {
  const char* const yaml = R"(train:
  phases:
  - share: 0.9
    max_seq_len: 128
  - share: 0.1
    masking:
      probability: 0.3
)";
  const v1::JobSpec spec = Parse(yaml);
  ASSERT_EQ(spec.train().phases_size(), 2);
  EXPECT_EQ(spec.train().phases(0).max_seq_len(), 128);
  EXPECT_EQ(spec.train().phases(1).masking().probability(), 0.3);
  EXPECT_EQ(ToYaml(spec), yaml);
  EXPECT_TRUE(MessageDifferencer::Equals(Parse("train: {phases: [{share: 0.9, max_seq_len: 128}, {share: 0.1, masking: "
                                               "{probability: 0.3}}]}"),
                                         spec));
  const auto parsed = ParseJobSpec(yaml, "job.yaml");
  EXPECT_EQ(parsed->locations.at("train.phases[1].share"), "job.yaml:5");
}

TEST(YamlTest, NamesTheItemOfAListThatIsWrong) {
  EXPECT_EQ(Problems("train:\n  phases:\n    - {share: 0.5}\n    - {shar: 0.5}\n"),
            "job.yaml:4: train.phases[1].shar: unknown field; did you mean 'train.phases[1].share'?");
  EXPECT_EQ(Problems("train:\n  phases: {share: 1}\n").substr(0, 53),
            "job.yaml:2: train.phases: must be a list, each item w");
  EXPECT_EQ(Problems("train:\n  phases: []\n").substr(0, 45), "job.yaml:2: train.phases: must be a list, eac");
  EXPECT_EQ(Problems("name: a\n", {"train.phases.share=1"}),
            "--set train.phases.share=1: train.phases: is a list; give it in the file");
}

TEST(YamlTest, RefusesDuplicateKeys) {
  EXPECT_EQ(Problems("name: a\ntrain:\n  steps: 5\n  steps: 6\nname: b\n"),
            "job.yaml:4: train.steps: given twice, first on line 3\n"
            "job.yaml:5: name: given twice, first on line 1");
}

TEST(YamlTest, RefusesWrongTypes) {
  EXPECT_EQ(Problems("train: 5\n"),
            "job.yaml:1: train: must hold fields (steps, global_batch_size, micro_batch_size, precision, optimizer, "
            "log_every_steps, duration, phases, batch_ramp, nonfinite_steps_max), not a single value");
  EXPECT_EQ(Problems("workers: [1, 2]\n"), "job.yaml:1: workers: must hold fields (min, max), not a list");
  EXPECT_EQ(Problems("seed: [1]\n"), "job.yaml:1: seed: must be a single value, not a list");
  EXPECT_EQ(Problems("seed: {a: 1}\n"), "job.yaml:1: seed: must be a single value, not fields");
  EXPECT_EQ(Problems("seed:\n"), "job.yaml:1: seed: has no value; give one or remove the field");
  EXPECT_EQ(Problems("train:\n  # steps: 5\nseed: 1\n"),
            "job.yaml:1: train: has no value; give one or remove the field");
  EXPECT_EQ(Problems("seed: \"1\"\n"),
            "job.yaml:1: seed: must be a whole number in digits only, without quotes; it is \"1\"");
  EXPECT_EQ(Problems("seed: !!int 1\n"), "job.yaml:1: seed: must have no tag; it has tag:yaml.org,2002:int");
  EXPECT_EQ(Problems("? [a]\n: 1\n"), "job.yaml:1: a field's name must be a plain word");
}

TEST(YamlTest, RefusesNumbersThatDoNotFit) {
  EXPECT_EQ(Problems("priority: 2147483648\n"),
            "job.yaml:1: priority: must be between -2147483648 and 2147483647; it is '2147483648'");
  EXPECT_EQ(Problems("seed: -1\n"), "job.yaml:1: seed: must be between 0 and 18446744073709551615; it is '-1'");
  EXPECT_EQ(Problems("seed: 1e3\n"), "job.yaml:1: seed: must be a whole number in digits only; it is '1e3'");
  EXPECT_EQ(Problems("seed: 0x10\n"), "job.yaml:1: seed: must be a whole number in digits only; it is '0x10'");
  EXPECT_EQ(Problems("model:\n  hidden_dropout: 1e999\n"),
            "job.yaml:2: model.hidden_dropout: must be a number a double holds; it is '1e999'");
  EXPECT_EQ(Problems("model:\n  hidden_dropout: .nan\n"),
            "job.yaml:2: model.hidden_dropout: must be a decimal number such as 0.1 or 1e-4; it is '.nan'");
  EXPECT_THAT(Problems("seed: " + std::string(100000, '1') + "\n"), testing::EndsWith("1111...'"));
}

TEST(YamlTest, KnowsADecimalFromWhatOnlyLooksLikeOne) {
  for (const char* good :
       {"0", "-0", "1.", ".5", "-.5", "0.1", "1e-4", "1E+4", "10.25e3", "123456789012345678901234"}) {
    EXPECT_THAT(Problems(std::string("model: {hidden_dropout: ") + good + "}"), testing::StartsWith("parsed:")) << good;
  }
  for (const char* bad : {".", "-", "01.5", "1e", "1e+", "e5", "1.2.3", "1_000", "+1", "0x1p3", "nan", "inf", "1e-400",
                          "1f", "--1", "1 2"}) {
    EXPECT_THAT(Problems(std::string("model: {hidden_dropout: ") + bad + "}"),
                testing::StartsWith("job.yaml:1: model.hidden_dropout: must be"))
        << bad;
  }
}

TEST(YamlTest, RefusesWhatIsNoSingleYamlMap) {
  EXPECT_EQ(Problems(""), "job.yaml: the file is empty; it takes the fields of a job");
  EXPECT_EQ(Problems("# nothing\n"), "job.yaml: the file is empty; it takes the fields of a job");
  EXPECT_EQ(Problems("name: a\n---\nname: b\n"),
            "job.yaml:3: a second YAML document starts here; a file holds one job");
  EXPECT_THAT(Problems("name: a\n  bad indent: [\n"), testing::StartsWith("job.yaml:2: not valid YAML: "));
  EXPECT_THAT(Problems(std::string(100000, '[')), testing::StartsWith("job.yaml:1: not valid YAML: "));
  EXPECT_THAT(Problems(std::string(2 << 20, '#')), testing::StartsWith("job.yaml: has 2097152 bytes"));
  EXPECT_THAT(Problems("just words\n"), testing::HasSubstr("not a single value"));
}

TEST(YamlTest, OverridesWinOverTheFileAndTheLastOneOfAField) {
  const v1::JobSpec spec =
      Parse("train:\n  steps: 5\n", {"train.steps=6", "train.steps=7", "workers.min=2", "name=a=b"});
  EXPECT_EQ(spec.train().steps(), 7);
  EXPECT_EQ(spec.workers().min(), 2);
  EXPECT_EQ(spec.name(), "a=b");
}

TEST(YamlTest, NamesWhatIsWrongWithAnOverride) {
  EXPECT_EQ(Problems("seed: 1\n", {"train.stepz=5", "train.steps=x", "train=5", "train.steps=", "seed.a=1", "seed",
                                   "trian.steps=5"}),
            R"(--set train.stepz=5: train.stepz: unknown field; did you mean 'train.steps'?
--set train.steps=x: train.steps: must be a whole number in digits only; it is 'x'
--set train=5: train: holds fields; set one of them: steps, global_batch_size, micro_batch_size, )"
            R"(precision, optimizer, log_every_steps, duration, phases, batch_ramp, nonfinite_steps_max
--set train.steps=: train.steps: has no value
--set seed.a=1: seed: is a value and has no fields
--set seed: must be of the form field.path=value
--set trian.steps=5: trian: unknown field; did you mean 'train'?)");
}

TEST(YamlTest, WritesWhatItReads) {
  const std::string yaml = R"(name: a-job
preset: tiny
workers:
  min: 1
  max: 2
model:
  norm: pre_ln
  hidden_dropout: 0
  layer_norm_eps: 1e-12
data:
  dataset: books/v2
train:
  steps: 600
  precision: bf16
  optimizer:
    learning_rate: 0.0001
    epsilon: 1e-6
deterministic: false
)";
  EXPECT_EQ(ToYaml(Parse(yaml)), yaml);
  EXPECT_EQ(ToYaml(v1::JobSpec()), "");
}

TEST(YamlTest, QuotesStringsThatNeedIt) {
  v1::JobSpec spec;
  for (const char* name : {"", "null", "~", "a: b", "a #b", "\"quoted\"", "back\\slash", "line\nbreak\t\x01", "-", "!x",
                           "123", "true", "ümlaut", "trailing:", "*a", "a,b]"}) {
    spec.set_name(name);
    EXPECT_TRUE(MessageDifferencer::Equals(Parse(ToYaml(spec)), spec)) << name << " became " << ToYaml(spec);
  }
}

}  // namespace
}  // namespace bert::spec
