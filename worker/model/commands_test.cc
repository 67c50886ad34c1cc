#include "worker/model/commands.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "common/files.h"
#include "worker/model/pretrained.h"
#include "worker/model/test_batches.h"

namespace bert::model {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class CommandsTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "/commands_" + testing::UnitTest::GetInstance()->current_test_info()->name();
    ASSERT_TRUE(RemoveTree(directory_).ok());
    ASSERT_TRUE(MakeDirectories(directory_).ok());
    ASSERT_TRUE(SavePretrained(*TinyModel(TinyConfig(NormPlacement::kPostLn)), directory_).ok());
    WriteVocabulary(37);
    ASSERT_TRUE(WriteFile(directory_ + "/tokenizer_config.json", R"({"do_lower_case": true})").ok());
  }

  void WriteVocabulary(int size) {
    std::string text = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
    for (int id = 5; id < size; ++id) text += "w" + std::to_string(id) + "\n";
    ASSERT_TRUE(WriteFile(directory_ + "/vocab.txt", text).ok());
  }

  absl::Status Fill(FillMaskFlags flags, const std::string& input = "") {
    flags.model = directory_;
    std::istringstream in(input);
    out_.str("");
    return FillMask(flags, in, out_);
  }
  absl::Status EvaluateText(const std::string& rows, bool as_json = true, int64_t batch_rows = 16) {
    std::istringstream in(rows);
    out_.str("");
    EvaluateFlags flags;
    flags.model = directory_;
    flags.rows = "-";
    flags.batch_rows = batch_rows;
    flags.json = as_json;
    return Evaluate(flags, in, out_);
  }

  std::string directory_;
  std::ostringstream out_;
};

TEST_F(CommandsTest, FillsEveryMaskBestFirst) {
  FillMaskFlags flags;
  flags.texts = {"w7 [MASK] W8 [MASK]"};
  flags.top_k = 37;
  flags.json = true;
  ASSERT_TRUE(Fill(flags).ok());
  const json filled = json::parse(out_.str());
  EXPECT_EQ(filled["text"], "w7 [MASK] W8 [MASK]");
  ASSERT_EQ(filled["masks"].size(), 2u);
  EXPECT_EQ(filled["masks"][0]["position"], 2);
  EXPECT_EQ(filled["masks"][1]["position"], 4);
  for (const json& mask : filled["masks"]) {
    double before = 1;
    double total = 0;
    for (const json& prediction : mask["predictions"]) {
      const double probability = prediction["probability"].get<double>();
      EXPECT_LE(probability, before);
      before = probability;
      total += probability;
    }
    EXPECT_NEAR(total, 1, 1e-5) << "over the whole vocabulary";
  }
}

TEST_F(CommandsTest, PrintsPercentages) {
  FillMaskFlags flags;
  flags.texts = {"w7 [MASK]"};
  ASSERT_TRUE(Fill(flags).ok());
  std::istringstream lines(out_.str());
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line, "w7 [MASK]");
  for (int rank = 1; rank <= 3; ++rank) {
    ASSERT_TRUE(std::getline(lines, line));
    EXPECT_THAT(line, StartsWith("  " + std::to_string(rank) + ". "));
    EXPECT_EQ(line.back(), '%');
  }
  EXPECT_FALSE(std::getline(lines, line));
}

TEST_F(CommandsTest, ReadsLinesAndNamesTheOneThatIsWrong) {
  EXPECT_TRUE(Fill({}, "w7 [MASK]\n\n[MASK] w8\n").ok());
  EXPECT_THAT(out_.str(), HasSubstr("[MASK] w8\n"));
  EXPECT_EQ(Fill({}, "w7 [MASK]\n\nw8\n").message(), "line 3: no [MASK] in 'w8'");
  EXPECT_THAT(out_.str(), StartsWith("w7 [MASK]\n")) << "what came before is printed";
}

TEST_F(CommandsTest, SaysWhyItCannotFill) {
  FillMaskFlags flags;
  std::string text = "[MASK]";
  for (int i = 0; i < 22; ++i) text += " w9";
  flags.texts = {text};
  EXPECT_EQ(Fill(flags).message(), "a text of 25 tokens; the model takes 24");
  WriteVocabulary(40);
  flags.texts = {"[MASK]"};
  EXPECT_THAT(std::string(Fill(flags).message()),
              HasSubstr("the tokenizer has 40 tokens, but config.json says vocab_size 37"));
  ASSERT_TRUE(WriteFile(directory_ + "/model.safetensors", "damaged").ok());
  const absl::Status damaged = Fill(flags);
  EXPECT_EQ(damaged.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(damaged.message()), HasSubstr(directory_ + "/model.safetensors"));
  directory_ += "/missing";
  EXPECT_EQ(Fill(flags).code(), absl::StatusCode::kNotFound);
}

TEST_F(CommandsTest, InspectsModelAndCheckpoint) {
  const auto inspect = [&](bool as_json) {
    std::ostringstream out;
    EXPECT_TRUE(Inspect({.model = directory_, .json = as_json}, out).ok());
    return out.str();
  };
  const int64_t parameters = TinyModel(TinyConfig(NormPlacement::kPostLn))->parameters().size();
  json inspected = json::parse(inspect(true));
  EXPECT_EQ(inspected["parameters"], parameters);
  EXPECT_EQ(inspected["config"]["hidden_size"], 16);
  EXPECT_FALSE(inspected.contains("step"));
  int64_t elements = 0;
  for (const json& tensor : inspected["tensors"]) {
    int64_t size = 1;
    for (const json& dimension : tensor["shape"]) size *= dimension.get<int64_t>();
    elements += size;
  }
  EXPECT_EQ(elements, parameters);
  EXPECT_THAT(inspect(false), HasSubstr("bert.embeddings.word_embeddings.weight"));

  ASSERT_TRUE(WriteFile(directory_ + "/training_state.json", R"({"step": 600})").ok());
  inspected = json::parse(inspect(true));
  EXPECT_EQ(inspected["step"], 600);
  EXPECT_THAT(inspect(false), HasSubstr("step                          600"));
}

TEST_F(CommandsTest, EvaluatesRowsInAnyBatches) {
  const std::string rows =
      R"({"row":0,"segments":[{"input_ids":[2,5,4,7,3],"positions":[2],"labels":[6]},)"
      R"({"input_ids":[2,4,3],"positions":[1],"labels":[8]}]})"
      "\n\n"
      R"({"row":1,"segments":[{"input_ids":[2,4,9,10,11,12,4,14,15,16,3],"positions":[1,6],"labels":[8,13]}]})"
      "\n"
      R"({"row":2,"segments":[{"input_ids":[2,9,3],"positions":[],"labels":[]}]})"
      "\n";
  ASSERT_TRUE(EvaluateText(rows).ok());
  const json together = json::parse(out_.str());
  EXPECT_EQ(together["masked_tokens"], 4);
  EXPECT_EQ(together["rows"], 3);
  const double loss = together["loss"].get<double>();
  EXPECT_GT(loss, 0);
  EXPECT_NEAR(together["perplexity"].get<double>(), std::exp(loss), 1e-9 * std::exp(loss));
  ASSERT_TRUE(EvaluateText(rows, true, 1).ok());
  EXPECT_NEAR(json::parse(out_.str())["loss"].get<double>(), loss, 1e-6 * loss);
  ASSERT_TRUE(EvaluateText(rows, false).ok());
  EXPECT_THAT(out_.str(), HasSubstr("of 4 masked tokens in 3 rows"));
}

TEST_F(CommandsTest, NamesTheLineOfARowThatDoesNotFit) {
  const std::string good = R"({"segments":[{"input_ids":[2,4,3],"positions":[1],"labels":[8]}]})";
  const auto message = [&](const std::string& bad) { return std::string(EvaluateText(good + "\n" + bad).message()); };
  EXPECT_EQ(message("x"), "-:2: not an object with a list 'segments'");
  EXPECT_EQ(message(R"({"segments":[{"input_ids":[37],"positions":[],"labels":[]}]})"),
            "-:2: input_ids: 37; it takes 0 to 36");
  EXPECT_EQ(message(R"({"segments":[{"input_ids":[3],"positions":[1],"labels":[1]}]})"),
            "-:2: positions: 1; it takes 0 to 0");
  EXPECT_EQ(message(R"({"segments":[{"input_ids":[3],"positions":[0],"labels":[]}]})"),
            "-:2: 1 positions but 0 labels");
  EXPECT_EQ(message(R"({"segments":[{"input_ids":[],"positions":[],"labels":[]}]})"),
            "-:2: a segment of 0 tokens; the model takes 1 to 24");
  EXPECT_EQ(message(R"({"segments":[{"input_ids":[1.5],"positions":[],"labels":[]}]})"),
            "-:2: input_ids: 1.5; it takes 0 to 36");
  EXPECT_EQ(message(R"({"segments":[{"positions":[],"labels":[]}]})"), "-:2: a segment without a list 'input_ids'");
  EXPECT_EQ(EvaluateText("").message(), "- has no masked tokens");
}

}  // namespace
}  // namespace bert::model
