#include "worker/model/pretrained.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/files.h"
#include "worker/model/safetensors.h"
#include "worker/model/test_batches.h"

namespace bert::model {
namespace {

using ::testing::HasSubstr;

class PretrainedTest : public testing::TestWithParam<NormPlacement> {
 protected:
  void SetUp() override {
    std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    for (char& letter : name) letter = letter == '/' ? '_' : letter;
    directory_ = testing::TempDir() + "/pretrained_" + name;
    ASSERT_TRUE(RemoveTree(directory_).ok());
    ASSERT_TRUE(MakeDirectories(directory_).ok());
  }

  // config.json with one field set (removed where the value is null).
  std::string ConfigError(const char* field, const nlohmann::json& value) {
    nlohmann::json json = nlohmann::json::parse(ConfigJson(config_));
    value.is_null() ? static_cast<void>(json.erase(field)) : static_cast<void>(json[field] = value);
    EXPECT_TRUE(WriteFile(directory_ + "/config.json", json.dump()).ok());
    const absl::Status status = ReadConfig(directory_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(directory_ + "/config.json"));
    return std::string(status.message());
  }

  // The weights of a saved model, changed.
  template <typename Change>
  absl::Status LoadChanged(MaskedLm& model, Change change) {
    EXPECT_TRUE(SavePretrained(model, directory_).ok());
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    {
      const auto file = SafetensorsFile::Open(directory_ + "/model.safetensors");
      for (const auto& [name, entry] : file->entries()) tensors.emplace_back(name, *file->Read(name));
    }
    change(tensors);
    EXPECT_TRUE(WriteSafetensors(directory_ + "/model.safetensors", tensors).ok());
    return LoadPretrained(directory_, Precision::kFp32, at::kCPU).status();
  }

  const ModelConfig config_ = TinyConfig(GetParam());
  std::string directory_;
};

INSTANTIATE_TEST_SUITE_P(Norms, PretrainedTest, testing::Values(NormPlacement::kPostLn, NormPlacement::kPreLn),
                         [](const auto& info) { return info.param == NormPlacement::kPreLn ? "PreLn" : "PostLn"; });

TEST_P(PretrainedTest, LoadsWhatItSaved) {
  ModelConfig config = config_;
  config.activation = Activation::kGeluTanh;
  config.layer_norm_eps = 1e-5;
  config.hidden_dropout = 0.25;
  config.pad_token_id = 3;
  const std::unique_ptr<MaskedLm> model = TinyModel(config);
  ASSERT_TRUE(SavePretrained(*model, directory_).ok());
  const auto loaded = LoadPretrained(directory_, Precision::kFp32, at::kCPU);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(ConfigJson((*loaded)->config()), ConfigJson(config));
  EXPECT_TRUE(at::equal((*loaded)->parameters().master(), model->parameters().master()));

  const std::unique_ptr<MaskedLm> other = TinyModel(config, Precision::kBf16, /*seed=*/2);
  ASSERT_TRUE(LoadWeights(directory_, *other).ok());
  EXPECT_TRUE(at::equal(other->parameters().master(), model->parameters().master()));
  EXPECT_TRUE(at::equal(other->parameters().compute(), model->parameters().master().to(at::kBFloat16)));
}

TEST_P(PretrainedTest, NamesHowAnotherModelDiffers) {
  const std::unique_ptr<MaskedLm> model = TinyModel(config_);
  ASSERT_TRUE(SavePretrained(*model, directory_).ok());
  ModelConfig config = config_;
  config.num_hidden_layers = 3;
  config.vocab_size = 40;
  const absl::Status status = LoadWeights(directory_, *TinyModel(config));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("vocab_size 37 (model: 40), num_hidden_layers 2 (model: 3)"));
}

TEST_P(PretrainedTest, NamesTheTensorThatDoesNotFit) {
  const std::unique_ptr<MaskedLm> model = TinyModel(config_);
  const std::string name = "bert.encoder.layer.1.output.dense.weight";
  const absl::Status missing = LoadChanged(
      *model, [&](auto& tensors) { std::erase_if(tensors, [&](const auto& tensor) { return tensor.first == name; }); });
  EXPECT_EQ(missing.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("model.safetensors: tensor '" + name + "' is missing"));
  const absl::Status misshapen = LoadChanged(*model, [&](auto& tensors) {
    for (auto& tensor : tensors) {
      if (tensor.first == name) tensor.second = at::zeros({16, 23});
    }
  });
  EXPECT_EQ(misshapen.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(misshapen.message()),
              HasSubstr("'" + name + "' has shape [16, 23], the model takes [16, 24]"));
}

TEST_P(PretrainedTest, ReadsWeightsOfOtherTypesAndIgnoresOtherHeads) {
  const std::unique_ptr<MaskedLm> model = TinyModel(config_);
  ASSERT_TRUE(LoadChanged(*model, [](auto& tensors) {
                for (auto& tensor : tensors) tensor.second = tensor.second.to(at::kBFloat16);
                tensors.emplace_back("cls.seq_relationship.bias", at::zeros({2}));
              }).ok());
}

TEST_P(PretrainedTest, NamesFileAndFieldOfABadConfig) {
  EXPECT_EQ(ReadConfig(directory_ + "/missing").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(ConfigError("hidden_size", nullptr), HasSubstr("hidden_size is missing"));
  EXPECT_THAT(ConfigError("hidden_size", "768"), HasSubstr("hidden_size is \"768\", not a whole number"));
  EXPECT_THAT(ConfigError("hidden_size", 17), HasSubstr("not a multiple of num_attention_heads"));
  EXPECT_THAT(ConfigError("vocab_size", -1), HasSubstr("vocab_size is -1"));
  EXPECT_THAT(ConfigError("hidden_act", "relu"), HasSubstr("hidden_act is 'relu'; it takes gelu"));
  EXPECT_THAT(ConfigError("model_type", "roberta"), HasSubstr("model_type is 'roberta'"));
  EXPECT_THAT(ConfigError("layer_norm_eps", "small"), HasSubstr("layer_norm_eps is \"small\", not a number"));
  EXPECT_THAT(ConfigError("tie_word_embeddings", false), HasSubstr("tie_word_embeddings must be true"));
  EXPECT_THAT(ConfigError("position_embedding_type", "relative_key"), HasSubstr("position_embedding_type absolute"));
  ASSERT_TRUE(WriteFile(directory_ + "/config.json", "{").ok());
  EXPECT_THAT(std::string(ReadConfig(directory_).status().message()), HasSubstr("is not a JSON object"));
}

TEST_P(PretrainedTest, FilesHaveTheVocabularyWithoutItsPadding) {
  ModelConfig padded = config_;
  padded.vocab_multiple = 64;
  const std::unique_ptr<MaskedLm> model = *MaskedLm::Create(padded, Precision::kFp32, at::kCPU);
  model->InitializeWeights(4);
  ASSERT_TRUE(SavePretrained(*model, directory_).ok());
  const auto file = SafetensorsFile::Open(directory_ + "/model.safetensors");
  const auto& words = file->entries().at("bert.embeddings.word_embeddings.weight");
  EXPECT_EQ(words.shape, (std::vector<int64_t>{37, config_.hidden_size}));
  EXPECT_EQ(file->entries().at("cls.predictions.bias").shape, std::vector<int64_t>{37});
  const auto plain = LoadPretrained(directory_, Precision::kFp32, at::kCPU);
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ((*plain)->config().padded_vocab_size(), 37);
  const std::unique_ptr<MaskedLm> again = *MaskedLm::Create(padded, Precision::kFp32, at::kCPU);
  ASSERT_TRUE(LoadWeights(directory_, *again).ok());
  EXPECT_TRUE(at::equal(again->parameters().master(), model->parameters().master()));
}

}  // namespace
}  // namespace bert::model
