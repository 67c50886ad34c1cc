#include "dataloader/text/tokenizer_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "common/files.h"
#include "dataloader/text/wordpiece.h"

namespace bert::text {
namespace {

using ::testing::HasSubstr;

class TokenizerFilesTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::remove_all(directory_); }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  static WordPieceTokenizer Make(const NormalizerOptions& options) {
    return WordPieceTokenizer(
        *Vocabulary::FromTokens({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##\"\\", "中"}), options);
  }

  const std::string directory_ = ::testing::TempDir() + "/tokenizer_files_test";
};

TEST_F(TokenizerFilesTest, ReadsBackWhatItWrote) {
  for (const NormalizerOptions& options :
       {NormalizerOptions{}, NormalizerOptions{.lowercase = false},
        NormalizerOptions{.lowercase = true, .strip_accents = false, .handle_chinese_chars = false}}) {
    const WordPieceTokenizer written = Make(options);
    ASSERT_TRUE(WriteTokenizerFiles(written, directory_).ok());
    for (const char* name : {"vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}) {
      EXPECT_TRUE(std::filesystem::exists(directory_ + "/" + name)) << name;
    }
    // Once from tokenizer.json, once from vocab.txt and tokenizer_config.json.
    for (const bool json : {true, false}) {
      if (!json) {
        ASSERT_TRUE(RemoveTree(directory_ + "/tokenizer.json").ok());
      }
      const auto read = LoadTokenizer(directory_);
      ASSERT_TRUE(read.ok()) << read.status();
      const auto* wordpiece = dynamic_cast<const WordPieceTokenizer*>(read->get());
      ASSERT_NE(wordpiece, nullptr);
      EXPECT_EQ(wordpiece->options(), options);
      EXPECT_EQ(wordpiece->vocabulary().ToText(), written.vocabulary().ToText());
    }
  }
}

TEST_F(TokenizerFilesTest, TokenizerJsonHoldsTheVocabulary) {
  const auto files = TokenizerFiles(Make({.lowercase = false}));
  const auto json = nlohmann::json::parse(files.at(1).second);
  EXPECT_EQ(json["model"]["vocab"].size(), 8u);
  EXPECT_EQ(json["model"]["vocab"]["##\"\\"], 6);
  EXPECT_EQ(json["normalizer"]["lowercase"], false);
  EXPECT_TRUE(json["normalizer"]["strip_accents"].is_null());
  EXPECT_EQ(json["added_tokens"].size(), 5u);
  EXPECT_EQ(json["post_processor"]["special_tokens"]["[SEP]"]["ids"][0], 3);
}

TEST_F(TokenizerFilesTest, NamesTheFileThatIsMissingOrWrong) {
  EXPECT_TRUE(absl::IsNotFound(LoadTokenizer(directory_).status()));
  EXPECT_THAT(LoadTokenizer(directory_).status().message(), HasSubstr("vocab.txt"));
  ASSERT_TRUE(WriteTokenizerFiles(Make({}), directory_).ok());
  ASSERT_TRUE(WriteFile(directory_ + "/tokenizer.json", "{}").ok());
  EXPECT_THAT(LoadTokenizer(directory_).status().message(), HasSubstr("/tokenizer.json: version: is missing"));
  ASSERT_TRUE(RemoveTree(directory_ + "/tokenizer.json").ok());
  const std::string config = directory_ + "/tokenizer_config.json";
  ASSERT_TRUE(WriteFile(config, "{\"do_lower_case\": \"yes\"}").ok());
  EXPECT_THAT(LoadTokenizer(directory_).status().message(),
              HasSubstr("tokenizer_config.json: do_lower_case: is not true or false"));
  ASSERT_TRUE(WriteFile(config, "not json").ok());
  EXPECT_THAT(LoadTokenizer(directory_).status().message(), HasSubstr("tokenizer_config.json: not a JSON object"));
  ASSERT_TRUE(RemoveTree(config).ok());
  EXPECT_THAT(LoadTokenizer(directory_).status().message(), HasSubstr("tokenizer_config.json"));
}

}  // namespace
}  // namespace bert::text
