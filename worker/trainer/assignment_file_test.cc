#include "worker/trainer/assignment_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bert::trainer {
namespace {

using ::testing::HasSubstr;

constexpr char kJson[] = R"({
  "jobId": "novels-7", "generation": "3", "rank": 1, "worldSize": 2, "slot": 1, "device": "DEVICE_KIND_CPU",
  "spec": {
    "workers": {"min": 1, "max": 4},
    "model": {"norm": "NORM_PLACEMENT_PRE_LN", "hiddenSize": 256, "numHiddenLayers": 4, "numAttentionHeads": 4,
              "intermediateSize": 1024, "maxPositionEmbeddings": 512, "typeVocabSize": 2,
              "activation": "ACTIVATION_GELU", "hiddenDropout": 0.0, "attentionDropout": 0.25,
              "layerNormEps": 1e-12, "initializerRange": 0.02},
    "data": {"dataset": "novels", "datasetDigest": "xxh128:aa", "maxSeqLen": 128,
             "masking": {"probability": 0.15, "maskShare": 0.8, "randomShare": 0.1, "wholeWord": true,
                                                       "ngramMax": 3, "maxPredictionsPerSeq": 20},
             "rows": "ROW_FORMAT_TRUNCATE_PAD"},
    "train": {"steps": "2000", "globalBatchSize": 64, "microBatchSize": 32, "precision": "PRECISION_BF16",
              "optimizer": {"learningRate": 0.001, "warmupSteps": "200", "beta1": 0.9, "beta2": 0.98, "epsilon": 1e-6,
                            "weightDecay": 0.01, "maxGradNorm": 1.0},
              "logEverySteps": "10"},
    "validation": {"everySteps": "200", "rows": "512"},
    "checkpoint": {"everySteps": "100", "keepLast": 2},
    "seed": "7", "deterministic": true
  },
  "resumePoints": [{"step": "300", "directory": "/c/step-00000300", "digest": "xxh128:bb"}],
  "loaders": ["127.0.0.1:7410"]
})";

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

TEST(AssignmentFileTest, ReadsEveryField) {
  const auto assignment = ParseAssignment(kJson, "a.json");
  ASSERT_TRUE(assignment.ok()) << assignment.status();
  EXPECT_EQ(assignment->job_id, "novels-7");
  EXPECT_EQ(assignment->generation, 3);
  EXPECT_EQ(assignment->rank, 1);
  EXPECT_EQ(assignment->world_size, 2);
  EXPECT_FALSE(assignment->cuda);
  ASSERT_EQ(assignment->resume_points.size(), 1u);
  EXPECT_EQ(assignment->resume_points[0].step, 300);
  EXPECT_EQ(assignment->loaders, std::vector<std::string>{"127.0.0.1:7410"});
  const JobPlan& plan = assignment->plan;
  EXPECT_EQ(plan.model.norm, model::NormPlacement::kPreLn);
  EXPECT_EQ(plan.model.hidden_size, 256);
  EXPECT_EQ(plan.model.attention_dropout, 0.25);
  EXPECT_EQ(plan.precision, model::Precision::kBf16);
  EXPECT_EQ(plan.dataset, "novels");
  EXPECT_EQ(plan.max_seq_len, 128);
  EXPECT_EQ(plan.masking.mask_share, 0.8);
  EXPECT_EQ(plan.masking.ngram_max, 3);
  EXPECT_EQ(plan.masking.max_predictions_per_seq, 20);
  EXPECT_EQ(plan.row_format, sampling::RowFormat::kTruncatePad);
  EXPECT_EQ(plan.optimizer.beta2, 0.98);
  EXPECT_EQ(plan.optimizer.warmup_steps, 200);
  EXPECT_EQ(plan.steps, 2000);
  EXPECT_EQ(plan.global_batch_size, 64);
  EXPECT_EQ(plan.micro_batch_size, 32);
  EXPECT_EQ(plan.validation_rows, 512);
  EXPECT_EQ(plan.checkpoint_every_steps, 100);
  EXPECT_EQ(plan.workers_max, 4);
  EXPECT_EQ(plan.seed, 7u);
  EXPECT_TRUE(plan.deterministic);
}

TEST(AssignmentFileTest, NamesTheFileAndWhatIsWrong) {
  const auto message = [](const std::string& json) {
    return std::string(ParseAssignment(json, "a.json").status().message());
  };
  EXPECT_THAT(message("{"), HasSubstr("a.json is not an assignment"));
  EXPECT_THAT(message(Replaced(kJson, "\"rank\": 1", "\"rank\": 2")), HasSubstr("a.json: rank 2 of 2"));
  EXPECT_THAT(message(Replaced(kJson, "\"globalBatchSize\": 64", "\"globalBatchSize\": 1")),
              HasSubstr("cannot share 1 rows"));
  EXPECT_THAT(message(Replaced(kJson, "\"max\": 4", "\"max\": 1")), HasSubstr("workers.max"));
  EXPECT_THAT(message(Replaced(kJson, "\"steps\": \"2000\"", "\"steps\": \"0\"")), HasSubstr("train.steps is 0"));
  EXPECT_EQ(ReadAssignmentFile("/nowhere/a.json").status().code(), absl::StatusCode::kNotFound);
}

TEST(AssignmentFileTest, ReadsPhasesOfPairsAndALengthInEpochs) {
  std::string json = Replaced(kJson, "ROW_FORMAT_TRUNCATE_PAD", "ROW_FORMAT_SENTENCE_PAIR");
  json = Replaced(json, "\"steps\": \"2000\", ", R"("duration": {"epochs": 2.5}, "phases": [
      {"share": 0.75, "maxSeqLen": 64, "globalBatchSize": 32, "microBatchSize": 8, "learningRateScale": 1.0,
       "masking": {"probability": 0.15, "maskShare": 0.8, "randomShare": 0.1, "ngramMax": 1}},
      {"share": 0.25, "maxSeqLen": 128, "globalBatchSize": 16, "microBatchSize": 4, "learningRateScale": 0.5,
       "masking": {"probability": 0.3, "maskShare": 0.8, "randomShare": 0.1, "ngramMax": 1}}],
      "batchRamp": {"start": 4, "share": 0.5, "stages": 3}, )");
  json = Replaced(json, "\"warmupSteps\": \"200\"",
                  R"("warmupShare": 0.06, "decay": "LEARNING_RATE_DECAY_COSINE", "finalLearningRateShare": 0.1)");
  const auto assignment = ParseAssignment(json, "a.json");
  ASSERT_TRUE(assignment.ok()) << assignment.status();
  const JobPlan& plan = assignment->plan;
  EXPECT_EQ(plan.row_format, sampling::RowFormat::kSentencePair);
  EXPECT_TRUE(plan.model.next_sentence);
  EXPECT_EQ(plan.steps, 0);
  EXPECT_EQ(plan.duration.epochs, 2.5);
  ASSERT_EQ(plan.phases.size(), 2u);
  EXPECT_EQ(plan.phases[0].max_seq_len, 64);
  EXPECT_EQ(plan.phases[1].share, 0.25);
  EXPECT_EQ(plan.phases[1].masking.probability, 0.3);
  EXPECT_EQ(plan.phases[1].learning_rate_scale, 0.5);
  EXPECT_EQ(plan.batch_ramp.start, 4);
  EXPECT_EQ(plan.batch_ramp.stages, 3);
  EXPECT_EQ(plan.optimizer.warmup_share, 0.06);
  EXPECT_EQ(plan.optimizer.decay, Decay::kCosine);
  EXPECT_EQ(plan.optimizer.final_share, 0.1);
  // No length at all is none.
  EXPECT_FALSE(ParseAssignment(Replaced(json, "\"epochs\": 2.5", ""), "a.json").ok());
}

TEST(AssignmentFileTest, WithoutPhasesThereIsOne) {
  const auto assignment = ParseAssignment(kJson, "a.json");
  ASSERT_TRUE(assignment.ok()) << assignment.status();
  ASSERT_EQ(assignment->plan.phases.size(), 1u);
  EXPECT_EQ(assignment->plan.phases[0].global_batch_size, 64);
  EXPECT_EQ(assignment->plan.phases[0].masking.ngram_max, 3);
  EXPECT_FALSE(assignment->plan.model.next_sentence);
}

}  // namespace
}  // namespace bert::trainer
