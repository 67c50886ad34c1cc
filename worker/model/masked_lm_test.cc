#include "worker/model/masked_lm.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "worker/model/test_batches.h"

namespace bert::model {
namespace {

using ::testing::HasSubstr;

const std::vector<std::vector<int64_t>> kPacked = {{5, 1, 10}, {16}, {7, 4}};
const std::vector<std::pair<int64_t, int64_t>> kPairs = {{7, 9}, {3, 5}, {8, 2}, {2, 12}};
constexpr int64_t kSeq = 16;

constexpr double kPairWeight = 2.5;

// What the gradient is of.
double Nll(MaskedLm& model, const MaskedBatch& batch, uint64_t seed) {
  const LossSums sums = model.ForwardBackward(batch, seed, kPairWeight);
  return sums.nll.item<double>() +
         (sums.next_sentence.rows > 0 ? kPairWeight * sums.next_sentence.nll.item<double>() : 0.0);
}

at::Tensor GradientOf(MaskedLm& model, const MaskedBatch& batch, uint64_t seed = 1) {
  model.parameters().ZeroGrad();
  model.ForwardBackward(batch, seed, kPairWeight);
  return model.parameters().grad().clone();
}

double RelativeDifference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>() / b.abs().max().item<double>();
}

class MaskedLmTest : public testing::TestWithParam<NormPlacement> {
 protected:
  const ModelConfig config_ = TinyConfig(GetParam());
};

INSTANTIATE_TEST_SUITE_P(Norms, MaskedLmTest, testing::Values(NormPlacement::kPostLn, NormPlacement::kPreLn),
                         [](const auto& info) { return info.param == NormPlacement::kPreLn ? "PreLn" : "PostLn"; });

// What parity with transformers cannot see: the gradient through dropout, whose masks differ between programs.
TEST_P(MaskedLmTest, GradientMatchesFiniteDifferencesWithDropout) {
  for (const Activation activation : {Activation::kGelu, Activation::kGeluTanh}) {
    ModelConfig config = config_;
    config.activation = activation;
    config.hidden_dropout = 0.2;
    config.attention_dropout = 0.3;
    config.next_sentence = activation == Activation::kGeluTanh;
    const std::unique_ptr<MaskedLm> model = TinyModel(config);
    const MaskedBatch batch = config.next_sentence ? DrawPairs(kPairs, kSeq, config) : DrawBatch(kPacked, kSeq, config);
    constexpr uint64_t kSeed = 7;
    const at::Tensor gradient = GradientOf(*model, batch, kSeed);
    at::Generator generator = at::detail::createCPUGenerator(5);
    Parameters& parameters = model->parameters();
    for (const ParameterInfo& info : parameters.infos()) {
      // Along a random direction within one tensor.
      at::Tensor direction = at::empty({info.size}, at::kFloat);
      direction.normal_(0, 1, generator);
      direction.div_(direction.norm());
      at::Tensor values = parameters.master().narrow(0, info.offset, info.size);
      const at::Tensor before = values.clone();
      constexpr double kStep = 4e-3;
      values.copy_(before + direction * kStep);
      const double above = Nll(*model, batch, kSeed);
      values.copy_(before - direction * kStep);
      const double below = Nll(*model, batch, kSeed);
      values.copy_(before);
      const double expected = (above - below) / (2 * kStep);
      const double actual = (gradient.narrow(0, info.offset, info.size) * direction).sum().item<double>();
      // The losses are sums in fp32 of about 100: the difference quotient is good to about 1e-2.
      EXPECT_NEAR(actual, expected, 2e-2 + 1e-2 * std::abs(expected)) << info.name;
    }
  }
}

TEST_P(MaskedLmTest, PackedSegmentsEqualSegmentsAlone) {
  const std::unique_ptr<MaskedLm> model = TinyModel(config_);
  const MaskedBatch packed = DrawBatch({{5, 1, 10}}, kSeq, config_);
  const at::Tensor together = model->Logits(packed);
  std::vector<at::Tensor> alone;
  int64_t begin = 0;
  for (const int64_t length : {5, 1, 10}) {
    MaskedBatch batch = DrawBatch({{length}}, length, config_);
    batch.input_ids.copy_(packed.input_ids.narrow(1, begin, length));
    alone.push_back(model->Logits(batch));
    begin += length;
  }
  EXPECT_LT(RelativeDifference(together, at::cat(alone)), 1e-5);
}

TEST_P(MaskedLmTest, PaddingChangesNothing) {
  const std::unique_ptr<MaskedLm> model = TinyModel(config_);
  const MaskedBatch tight = DrawBatch({{6, 10}, {16}}, 16, config_);
  MaskedBatch wide = DrawBatch({{6, 10}, {16}}, 23, config_);
  EXPECT_LT(RelativeDifference(model->Logits(wide), model->Logits(tight)), 1e-5);
  const at::Tensor gradient = GradientOf(*model, wide);
  EXPECT_LT(RelativeDifference(gradient, GradientOf(*model, tight)), 1e-5);
  // Nor does what stands in the padding.
  wide.input_ids.masked_fill_(wide.segments.eq(-1), 3);
  wide.position_ids.masked_fill_(wide.segments.eq(-1), 9);
  EXPECT_TRUE(at::equal(GradientOf(*model, wide), gradient));
}

TEST_P(MaskedLmTest, PairsPaddedFurtherChangeNothing) {
  ModelConfig config = config_;
  config.next_sentence = true;
  const std::unique_ptr<MaskedLm> model = TinyModel(config);
  const MaskedBatch tight = DrawPairs(kPairs, kSeq, config);
  const MaskedBatch wide = DrawPairs(kPairs, 23, config);
  EXPECT_LT(RelativeDifference(model->NextSentenceLogits(wide), model->NextSentenceLogits(tight)), 1e-5);
  EXPECT_LT(RelativeDifference(GradientOf(*model, wide), GradientOf(*model, tight)), 1e-5);
}

TEST_P(MaskedLmTest, PairsAreEvaluated) {
  ModelConfig config = config_;
  config.next_sentence = true;
  const std::unique_ptr<MaskedLm> model = TinyModel(config);
  MaskedBatch batch = DrawPairs(kPairs, kSeq, config);
  const LossSums trained = model->ForwardBackward(batch, 1);
  const LossSums evaluated = model->Evaluate(batch);
  EXPECT_EQ(evaluated.next_sentence.rows, 4);
  EXPECT_DOUBLE_EQ(evaluated.next_sentence.nll.item<double>(), trained.next_sentence.nll.item<double>());
  EXPECT_EQ(evaluated.next_sentence.correct,
            model->NextSentenceLogits(batch).argmax(1).eq(batch.next_sentence_labels).sum().item<int64_t>());
  // Types are read: with all of them 0 the model sees something else.
  const at::Tensor logits = model->NextSentenceLogits(batch);
  batch.token_type_ids = at::Tensor();
  EXPECT_FALSE(at::allclose(model->NextSentenceLogits(batch), logits));
  // Rows without labels train the other head alone.
  batch.next_sentence_labels = at::Tensor();
  EXPECT_EQ(model->Evaluate(batch).next_sentence.rows, 0);
}

TEST_P(MaskedLmTest, TheWeightScalesTheNextSentenceGradientAlone) {
  ModelConfig config = config_;
  config.next_sentence = true;
  const std::unique_ptr<MaskedLm> model = TinyModel(config);
  const MaskedBatch batch = DrawPairs(kPairs, kSeq, config);
  const auto gradient = [&](double weight) {
    model->parameters().ZeroGrad();
    model->ForwardBackward(batch, 1, weight);
    return model->parameters().grad().clone();
  };
  const at::Tensor none = gradient(0);
  EXPECT_LT(RelativeDifference(gradient(3) - none, (gradient(1) - none) * 3), 1e-4);
  // Of the head itself nothing is left.
  const ParameterInfo& last = model->parameters().infos().back();
  EXPECT_EQ(last.name, "cls.seq_relationship.bias");
  EXPECT_EQ(none.narrow(0, last.offset, last.size).abs().max().item<double>(), 0);
}

// The same losses, logits and gradients; nothing of the padding moves.
TEST_P(MaskedLmTest, PaddingTheVocabularyChangesNothing) {
  const MaskedBatch batch = DrawBatch(kPacked, kSeq, config_);
  ModelConfig config = config_;
  config.vocab_multiple = 64;
  for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
    const auto create = [&](const ModelConfig& of) {
      std::unique_ptr<MaskedLm> model = *MaskedLm::Create(of, precision, at::kCPU);
      model->InitializeWeights(3);
      return model;
    };
    const std::unique_ptr<MaskedLm> plain = create(config_);
    const std::unique_ptr<MaskedLm> padded = create(config);
    const std::vector<ParameterInfo>& infos = padded->parameters().infos();
    EXPECT_EQ(infos[0].shape[0], 64);
    EXPECT_EQ(padded->parameters().size() - plain->parameters().size(), 27 * (config.hidden_size + 1));
    EXPECT_TRUE(at::equal(Unpadded(infos, padded->parameters().master()), plain->parameters().master()));
    const at::Tensor logits = padded->Logits(batch);
    EXPECT_EQ(logits.size(1), 37);
    EXPECT_LT(RelativeDifference(logits, plain->Logits(batch)), 1e-2);
    EXPECT_NEAR(padded->Evaluate(batch).nll.item<double>() / plain->Evaluate(batch).nll.item<double>(), 1, 1e-5);
    EXPECT_EQ(padded->Evaluate(batch).correct, plain->Evaluate(batch).correct);
    const at::Tensor gradient = GradientOf(*padded, batch);
    const double tolerance = precision == Precision::kFp32 ? 1e-5 : 1e-2;
    EXPECT_LT(RelativeDifference(Unpadded(infos, gradient), GradientOf(*plain, batch)), tolerance);
    // Of the gradient's other elements no more than an exponential in fp32 leaves at its end.
    at::Tensor rest = gradient.clone();
    CopyUnpadded(infos, at::zeros({UnpaddedSize(infos)}), rest);
    EXPECT_LT(rest.abs().max().item<double>(), 1e-37);
  }
}

TEST_P(MaskedLmTest, SeedDecidesDropout) {
  ModelConfig config = config_;
  config.hidden_dropout = 0.1;
  config.attention_dropout = 0.1;
  for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
    const std::unique_ptr<MaskedLm> model = TinyModel(config, precision);
    const MaskedBatch batch = DrawBatch(kPacked, kSeq, config);
    const at::Tensor first = GradientOf(*model, batch, 1);
    EXPECT_FALSE(at::equal(GradientOf(*model, batch, 2), first));
    EXPECT_TRUE(at::equal(GradientOf(*model, batch, 1), first));
  }
}

TEST_P(MaskedLmTest, EvaluationDropsNothingAndKeepsGradients) {
  const std::unique_ptr<MaskedLm> model = TinyModel(config_);
  const MaskedBatch batch = DrawBatch(kPacked, kSeq, config_);
  const at::Tensor gradient = GradientOf(*model, batch);
  const double trained = Nll(*model, batch, 3);
  model->parameters().grad().copy_(gradient);
  const LossSums evaluated = model->Evaluate(batch);
  EXPECT_DOUBLE_EQ(evaluated.nll.item<double>(), trained) << "a model without dropout";
  EXPECT_EQ(evaluated.masked_tokens, batch.labels.numel());
  EXPECT_EQ(evaluated.correct, model->Logits(batch).argmax(1).eq(batch.labels).sum().item<int64_t>());
  EXPECT_TRUE(at::equal(model->parameters().grad(), gradient));
}

TEST_P(MaskedLmTest, GradientsAddUpOverMicroBatches) {
  const std::unique_ptr<MaskedLm> model = TinyModel(config_);
  const MaskedBatch one = DrawBatch({{16}}, kSeq, config_, 1);
  const MaskedBatch two = DrawBatch({{3, 13}}, kSeq, config_, 2);
  const at::Tensor expected = GradientOf(*model, one) + GradientOf(*model, two);
  model->parameters().ZeroGrad();
  model->ForwardBackward(one, 1);
  model->ForwardBackward(two, 1);
  EXPECT_LT(RelativeDifference(model->parameters().grad(), expected), 1e-6);
}

TEST_P(MaskedLmTest, ReplacingAGradientIsAddingToZeros) {
  for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
    const std::unique_ptr<MaskedLm> model = TinyModel(config_, precision);
    const MaskedBatch batch = DrawBatch(kPacked, kSeq, config_);
    const at::Tensor expected = GradientOf(*model, batch);
    model->parameters().grad().fill_(std::numeric_limits<float>::quiet_NaN());
    model->ForwardBackward(batch, 1, kPairWeight, {.weights = GradMode::kReplace});
    EXPECT_LT(RelativeDifference(model->parameters().grad(), expected), precision == Precision::kFp32 ? 1e-6 : 1e-2);
  }
}

TEST_P(MaskedLmTest, GradientsThatAreCalledFinishedAre) {
  const std::unique_ptr<MaskedLm> model = TinyModel(config_);
  const MaskedBatch batch = DrawBatch(kPacked, kSeq, config_);
  const at::Tensor& grad = model->parameters().grad();
  std::vector<int64_t> offsets;
  std::vector<at::Tensor> finished;
  const auto note = [&](int64_t offset) {
    offsets.push_back(offset);
    finished.push_back(grad.slice(0, offset, grad.numel()).clone());
  };
  model->ForwardBackward(batch, 1, kPairWeight, {.weights = GradMode::kReplace, .finished_from = note});
  // The head, two layers, the embeddings.
  ASSERT_EQ(offsets.size(), 4u);
  EXPECT_TRUE(std::is_sorted(offsets.rbegin(), offsets.rend()));
  EXPECT_EQ(offsets.back(), 0);
  for (size_t i = 0; i < offsets.size(); ++i) {
    EXPECT_TRUE(at::equal(finished[i], grad.slice(0, offsets[i], grad.numel()))) << i;
  }
}

TEST_P(MaskedLmTest, Bf16IsCloseToFp32) {
  const MaskedBatch batch = DrawBatch(kPacked, kSeq, config_);
  const std::unique_ptr<MaskedLm> fp32 = TinyModel(config_, Precision::kFp32);
  const std::unique_ptr<MaskedLm> bf16 = TinyModel(config_, Precision::kBf16);
  EXPECT_NEAR(Nll(*bf16, batch, 1) / Nll(*fp32, batch, 1), 1, 0.02);
  const at::Tensor expected = GradientOf(*fp32, batch);
  const at::Tensor actual = GradientOf(*bf16, batch);
  EXPECT_EQ(actual.scalar_type(), at::kFloat);
  const double cosine = (expected.dot(actual) / (expected.norm() * actual.norm())).item<double>();
  EXPECT_GT(cosine, 0.999);
}

TEST_P(MaskedLmTest, BatchWithoutMaskedTokensAddsNothing) {
  const std::unique_ptr<MaskedLm> model = TinyModel(config_);
  MaskedBatch batch = DrawBatch({{16}}, kSeq, config_);
  batch.masked_positions = batch.masked_positions.narrow(0, 0, 0);
  batch.labels = batch.labels.narrow(0, 0, 0);
  model->parameters().ZeroGrad();
  const LossSums sums = model->ForwardBackward(batch, 1);
  EXPECT_EQ(sums.masked_tokens, 0);
  EXPECT_EQ(sums.nll.item<double>(), 0);
  EXPECT_EQ(model->parameters().grad().abs().max().item<double>(), 0);
}

TEST_P(MaskedLmTest, InitialWeightsDependOnSeedAlone) {
  ModelConfig config = config_;
  config.hidden_size = 64;
  const int threads = at::get_num_threads();
  const auto weights = [&](uint64_t seed, int thread_count) {
    at::set_num_threads(thread_count);
    std::unique_ptr<MaskedLm> model = TinyModel(config);
    model->InitializeWeights(seed);
    return model;
  };
  const std::unique_ptr<MaskedLm> first = weights(1, 1);
  EXPECT_TRUE(at::equal(weights(1, 3)->parameters().master(), first->parameters().master()));
  EXPECT_FALSE(at::equal(weights(2, 1)->parameters().master(), first->parameters().master()));
  at::set_num_threads(threads);

  const Parameters& parameters = first->parameters();
  for (size_t i = 0; i < parameters.infos().size(); ++i) {
    const ParameterInfo& info = parameters.infos()[i];
    const at::Tensor values = parameters.MasterView(static_cast<int64_t>(i));
    if (info.decay) {
      EXPECT_NEAR(values.std().item<double>(), 0.02, 0.004) << info.name;
      EXPECT_NEAR(values.mean().item<double>(), 0, 0.004) << info.name;
    } else {
      EXPECT_TRUE(values.eq(info.name.ends_with("weight") ? 1 : 0).all().item<bool>()) << info.name;
    }
  }
}

TEST_P(MaskedLmTest, LayoutCoversTheFlatBuffer) {
  const std::unique_ptr<MaskedLm> model = TinyModel(config_);
  const Parameters& parameters = model->parameters();
  int64_t offset = 0;
  for (const ParameterInfo& info : parameters.infos()) {
    EXPECT_EQ(info.offset, offset) << info.name;
    EXPECT_EQ(info.decay, info.shape.size() == 2) << info.name;
    offset += info.size;
  }
  EXPECT_EQ(offset, parameters.size());
}

TEST(MaskedLmCreateTest, NamesTheFieldThatDoesNotFit) {
  ModelConfig config = TinyConfig(NormPlacement::kPostLn);
  config.num_attention_heads = 3;
  EXPECT_THAT(std::string(MaskedLm::Create(config, Precision::kFp32, at::kCPU).status().message()),
              HasSubstr("hidden_size 16 is not a multiple of num_attention_heads 3"));
  config = TinyConfig(NormPlacement::kPostLn);
  config.hidden_dropout = 1;
  EXPECT_THAT(std::string(Validate(config).message()), HasSubstr("hidden_dropout is 1"));
  config = TinyConfig(NormPlacement::kPostLn);
  config.next_sentence = true;
  config.type_vocab_size = 1;
  EXPECT_THAT(std::string(Validate(config).message()), HasSubstr("type_vocab_size is 1"));
  config = TinyConfig(NormPlacement::kPostLn);
  config.vocab_size = 0;
  EXPECT_THAT(std::string(Validate(config).message()), HasSubstr("vocab_size is 0"));
  config = TinyConfig(NormPlacement::kPostLn);
  config.layer_norm_eps = std::nan("");
  EXPECT_THAT(std::string(Validate(config).message()), HasSubstr("layer_norm_eps"));
}

TEST(ValidateBatchTest, NamesWhatDoesNotFit) {
  const ModelConfig config = TinyConfig(NormPlacement::kPostLn);
  const auto message = [&](auto spoil) {
    MaskedBatch batch = DrawBatch(kPacked, kSeq, config);
    EXPECT_TRUE(ValidateBatch(batch, config).ok());
    spoil(batch);
    return std::string(ValidateBatch(batch, config).message());
  };
  EXPECT_THAT(message([](MaskedBatch& b) { b.input_ids[0][0] = 37; }),
              HasSubstr("input_ids holds 37; the model takes 0 to 36"));
  EXPECT_THAT(message([](MaskedBatch& b) { b.input_ids[0][0] = -1; }), HasSubstr("input_ids holds -1"));
  EXPECT_THAT(message([](MaskedBatch& b) { b.position_ids[0][0] = 24; }), HasSubstr("position_ids holds 24"));
  EXPECT_THAT(message([](MaskedBatch& b) { b.labels[0] = 99; }), HasSubstr("labels holds 99"));
  EXPECT_THAT(message([](MaskedBatch& b) { b.masked_positions[0] = 48; }), HasSubstr("masked_positions holds 48"));
  EXPECT_THAT(message([](MaskedBatch& b) { b.masked_positions[0] = 47; }), HasSubstr("masked position 47 is padding"));
  EXPECT_THAT(message([](MaskedBatch& b) { b.labels = b.labels.narrow(0, 0, 1); }), HasSubstr("but 1 labels"));
  EXPECT_THAT(message([](MaskedBatch& b) { b.segments[1][3] = 2; }), HasSubstr("row 1 has 2 after 0 in column 3"));
  EXPECT_THAT(message([](MaskedBatch& b) { b.segments[0][8] = 0; }), HasSubstr("row 0 has 0 after 2"));
  EXPECT_THAT(message([](MaskedBatch& b) { b.segments[2][15] = 1; }), HasSubstr("row 2 has 1 after -1"));
  EXPECT_THAT(message([](MaskedBatch& b) { b.segments = b.segments.to(at::kLong); }), HasSubstr("segments is not"));
  EXPECT_THAT(message([](MaskedBatch& b) { b.position_ids = b.position_ids.t(); }), HasSubstr("differ in shape"));
  EXPECT_THAT(message([](MaskedBatch& b) { b.labels = at::Tensor(); }), HasSubstr("labels is not"));
}

TEST(ValidateBatchTest, NamesWhatDoesNotFitInPairs) {
  ModelConfig config = TinyConfig(NormPlacement::kPostLn);
  config.next_sentence = true;
  const auto message = [&](auto spoil) {
    MaskedBatch batch = DrawPairs(kPairs, kSeq, config);
    EXPECT_TRUE(ValidateBatch(batch, config).ok());
    spoil(batch);
    return std::string(ValidateBatch(batch, config).message());
  };
  EXPECT_THAT(message([](MaskedBatch& b) { b.token_type_ids[0][0] = 2; }), HasSubstr("token_type_ids holds 2"));
  EXPECT_THAT(message([](MaskedBatch& b) { b.token_type_ids = b.token_type_ids.t(); }),
              HasSubstr("input_ids and token_type_ids differ in shape"));
  EXPECT_THAT(message([](MaskedBatch& b) { b.next_sentence_labels[1] = 7; }),
              HasSubstr("next_sentence_labels holds 7"));
  EXPECT_THAT(message([](MaskedBatch& b) { b.next_sentence_labels = b.next_sentence_labels.narrow(0, 0, 3); }),
              HasSubstr("4 rows but 3 next_sentence_labels"));
}

}  // namespace
}  // namespace bert::model
