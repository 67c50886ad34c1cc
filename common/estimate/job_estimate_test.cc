#include "common/estimate/job_estimate.h"

#include <gtest/gtest.h>

namespace bert::estimate {
namespace {

JobShape Base() { return {.model = {}, .max_seq_len = 128, .global_batch_size = 256, .micro_batch_size = 32}; }

// Of BERT-base without its pooler, as Hugging Face counts BertForMaskedLM's.
TEST(ModelShapeTest, CountsTheParametersOfBertBaseAndLarge) {
  EXPECT_EQ(ParameterCount({}), 109'514'298);
  EXPECT_EQ(ParameterCount({.vocab_size = 30522,
                            .hidden_size = 1024,
                            .num_hidden_layers = 24,
                            .num_attention_heads = 16,
                            .intermediate_size = 4096}),
            335'174'458);
}

TEST(ModelShapeTest, FlopsFollowTheFormula) {
  const ModelShape shape = {.vocab_size = 10, .hidden_size = 2, .num_hidden_layers = 3, .intermediate_size = 5};
  // 6 s L (4 d^2 + 2 d f) + 12 L s^2 d + 6 m (d^2 + d V) with s = 7, m = 4, twice.
  EXPECT_DOUBLE_EQ(TrainFlops(shape, {.rows = 2, .tokens = 14, .masked_tokens = 8}),
                   2 * (6 * 7 * 3 * (16 + 20) + 12 * 3 * 49 * 2 + 6 * 4 * (4 + 20)));
  EXPECT_EQ(TrainFlops(shape, {}), 0);
}

TEST(JobEstimateTest, MemoryIsTheSumOfItsParts) {
  const MemoryEstimate memory = EstimateMemory(Base());
  const double parameters = 109'514'298;
  EXPECT_DOUBLE_EQ(memory.weights, 4 * parameters);
  EXPECT_DOUBLE_EQ(memory.moments, 8 * parameters);
  EXPECT_DOUBLE_EQ(memory.bf16_copies, 2 * parameters);
  EXPECT_DOUBLE_EQ(memory.logits, 32 * 128 * 0.15 * 30522 * 2);
  EXPECT_GT(memory.total(), 30 * parameters);
  JobShape fp32 = Base();
  fp32.bf16 = false;
  EXPECT_EQ(EstimateMemory(fp32).bf16_copies, 0);
  EXPECT_DOUBLE_EQ(EstimateMemory(fp32).activations, 2 * memory.activations);
}

TEST(JobEstimateTest, AMicroBatchIsNoLargerThanARanksShare) {
  JobShape job = Base();
  job.world_size = 16;
  EXPECT_DOUBLE_EQ(EstimateMemory(job).activations, EstimateMemory(Base()).activations / 2);
}

TEST(JobEstimateTest, LanesHoldGradientsOfTheirOwn) {
  JobShape job = Base();
  job.lanes = 8;
  job.world_size = 3;
  EXPECT_DOUBLE_EQ(EstimateMemory(job).gradients, 4 * EstimateMemory(Base()).gradients);
}

TEST(JobEstimateTest, TheStepTakesLongerOnASlowerDeviceAndShorterOnMore) {
  const DeviceRates device = {.flops = 1e12, .bytes_per_second = 1e10};
  const double one = EstimateStepSeconds(Base(), device);
  EXPECT_GT(one, StepFlops(Base()) / 1e12);
  EXPECT_GT(EstimateStepSeconds(Base(), {.flops = 5e11, .bytes_per_second = 1e10}), 1.5 * one);
  JobShape two = Base();
  two.world_size = 2;
  EXPECT_LT(EstimateStepSeconds(two, device), 0.6 * one);
}

}  // namespace
}  // namespace bert::estimate
