#include "dataloader/text/tokenizer_json_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "dataloader/text/tokenizer_json_writer.h"
#include "dataloader/text/trained_tokenizer.h"
#include "dataloader/text/wordpiece.h"

namespace bert::text {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

std::string Trained(VocabularyKind kind) {
  const bool bytes = kind == VocabularyKind::kByteLevelBpe;
  VocabularyTrainer trainer({.kind = kind, .vocab_size = size_t{bytes ? 270U : 24U}});
  trainer.AddText("low low lower lower newest newest widest");
  auto tokenizer = MakeTokenizer(*trainer.Train(), kind, {});
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  if (const auto* wordpiece = dynamic_cast<const WordPieceTokenizer*>(tokenizer->get())) {
    return FormatTokenizerJson(SpecOf(*wordpiece));
  }
  return FormatTokenizerJson(dynamic_cast<const PipelineTokenizer&>(**tokenizer).spec());
}

// The status of reading what is left after a change.
absl::Status After(VocabularyKind kind, const std::function<void(Json&)>& change) {
  Json json = Json::parse(Trained(kind));
  change(json);
  return ParseTokenizerJson(json.dump()).status();
}

TEST(TokenizerJsonReaderTest, ReadsWhatWasWritten) {
  for (const VocabularyKind kind : {VocabularyKind::kBpe, VocabularyKind::kByteLevelBpe}) {
    const std::string written = Trained(kind);
    const auto read = ParseTokenizerJson(written);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(FormatTokenizerJson(dynamic_cast<const PipelineTokenizer&>(**read).spec()), written);
  }
}

TEST(TokenizerJsonReaderTest, BertsOwnFilesAreReadIntoTheFastTokenizer) {
  const std::string written = Trained(VocabularyKind::kWordPiece);
  const auto read = ParseTokenizerJson(written);
  ASSERT_TRUE(read.ok()) << read.status();
  const auto* wordpiece = dynamic_cast<const WordPieceTokenizer*>(read->get());
  ASSERT_NE(wordpiece, nullptr);
  EXPECT_EQ(FormatTokenizerJson(SpecOf(*wordpiece)), written);
}

TEST(TokenizerJsonReaderTest, OtherWordPieceOptionsAreReadIntoThePipeline) {
  for (const std::function<void(Json&)>& change :
       std::vector<std::function<void(Json&)>>{[](Json& json) { json["model"]["max_input_chars_per_word"] = 50; },
                                               [](Json& json) { json["normalizer"]["clean_text"] = false; },
                                               [](Json& json) { json["added_tokens"][4]["lstrip"] = true; },
                                               [](Json& json) { json["decoder"]["cleanup"] = false; },
                                               [](Json& json) { json["pre_tokenizer"]["type"] = "Whitespace"; },
                                               [](Json& json) { json["normalizer"] = nullptr; }}) {
    Json json = Json::parse(Trained(VocabularyKind::kWordPiece));
    change(json);
    const auto read = ParseTokenizerJson(json.dump());
    ASSERT_TRUE(read.ok()) << read.status();
    const auto* pipeline = dynamic_cast<const PipelineTokenizer*>(read->get());
    ASSERT_NE(pipeline, nullptr);
    EXPECT_EQ((*read)->type(), "wordpiece");
    EXPECT_EQ(Json::parse(FormatTokenizerJson(pipeline->spec())), json);
  }
}

TEST(TokenizerJsonReaderTest, MergesMayBeStrings) {
  Json json = Json::parse(Trained(VocabularyKind::kBpe));
  const Json merges = json["model"]["merges"];
  for (Json& merge : json["model"]["merges"]) {
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  const auto read = ParseTokenizerJson(json.dump());
  ASSERT_TRUE(read.ok()) << read.status();
  const TokenizerSpec& spec = dynamic_cast<const PipelineTokenizer&>(**read).spec();
  EXPECT_EQ(Json::parse(FormatTokenizerJson(spec))["model"]["merges"], merges);
}

TEST(TokenizerJsonReaderTest, NamesWhatItDoesNotSupport) {
  const std::vector<std::pair<std::function<void(Json&)>, std::string>> cases = {
      {[](Json& json) { json["model"]["dropout"] = 0.1; }, "model.dropout: is not supported"},
      {[](Json& json) { json["model"]["type"] = "Unigram"; }, "model.type: the model 'Unigram' is not supported"},
      {[](Json& json) { json["model"]["new_option"] = 1; }, "model.new_option: is not supported"},
      {[](Json& json) {
         json["normalizer"] = {{"type", "Nmt"}};
       },
       "normalizer.type: the normalizer 'Nmt'"},
      {[](Json& json) {
         json["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, {{"type", "Prepend"}}}}};
       },
       "normalizer.normalizers[1].type: the normalizer 'Prepend' is not supported"},
      {[](Json& json) {
         json["pre_tokenizer"] = {{"type", "Metaspace"}};
       },
       "pre_tokenizer.type: the pre-tokenizer"},
      {[](Json& json) {
         json["decoder"] = {{"type", "CTC"}};
       },
       "decoder.type: the decoder 'CTC'"},
      {[](Json& json) {
         json["truncation"] = {{"max_length", 512}};
       },
       "truncation: is not supported"},
      {[](Json& json) { json["version"] = "2.0"; }, "version: is '2.0', not 1.0"},
      {[](Json& json) {
         json["post_processor"] = {{"type", "Other"}};
       },
       "post_processor.type: the post-processor"},
      {[](Json& json) { json["post_processor"]["single"].erase(0); }, "post_processor.single: is not [CLS] $A [SEP]"},
  };
  for (const auto& [change, message] : cases) {
    const absl::Status status = After(VocabularyKind::kBpe, change);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.message(), HasSubstr(message));
  }
}

TEST(TokenizerJsonReaderTest, NamesWhatIsWrong) {
  const std::vector<std::pair<std::function<void(Json&)>, std::string>> cases = {
      {[](Json& json) { json.erase("model"); }, "model: is missing"},
      {[](Json& json) { json["model"]["vocab"] = 3; }, "model.vocab: is not an object"},
      {[](Json& json) { json["model"]["vocab"]["zz"] = 3; }, "model.vocab: two tokens have id 3"},
      {[](Json& json) { json["model"]["vocab"]["zz"] = 99; }, "no token has id 24 of 0 to 99"},
      {[](Json& json) { json["model"]["vocab"]["zz"] = -1; }, "the id of 'zz' is not a number"},
      {[](Json& json) { json["model"]["vocab"]["zz"] = uint64_t{1} << 60; }, "the id of 'zz' is not a number"},
      {[](Json& json) { json["model"]["merges"][0] = "abc"; }, "model.merges[0]: is neither a pair"},
      {[](Json& json) {
         json["model"]["merges"][0] = {"l", "?"};
       },
       "model.merges[0]: 'l' + '?'"},
      {[](Json& json) { json["added_tokens"][2]["id"] = 3; }, "added_tokens[2].id: is 3, but model.vocab says 2"},
      {[](Json& json) { json["added_tokens"][2]["content"] = "new"; }, "added_tokens[2].id: 2 is another token's"},
      {[](Json& json) { json["added_tokens"][2].erase("special"); }, "added_tokens[2].special: is missing"},
      {[](Json& json) { json["normalizer"]["lowercase"] = "yes"; }, "normalizer.lowercase: is not true or false"},
  };
  for (const auto& [change, message] : cases) {
    const absl::Status status = After(VocabularyKind::kBpe, change);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.message(), HasSubstr(message));
  }
  EXPECT_THAT(ParseTokenizerJson("{").status().message(), HasSubstr("not JSON"));
  EXPECT_THAT(ParseTokenizerJson("[]").status().message(), HasSubstr("the file: is not an object"));
}

}  // namespace
}  // namespace bert::text
