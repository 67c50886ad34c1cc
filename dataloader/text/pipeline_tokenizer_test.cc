#include "dataloader/text/pipeline_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace bert::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TokenizerSpec SpecWith(const std::vector<std::string>& tokens, const BpeModel::Merges& merges = {}) {
  TokenizerSpec spec;
  for (const std::string_view special : kSpecialTokens) {
    spec.added.push_back(
        {.id = static_cast<uint32_t>(spec.tokens.size()), .content = std::string(special), .special = true});
    spec.tokens.push_back({.content = std::string(special)});
  }
  for (const std::string& token : tokens) spec.tokens.push_back({.content = token});
  spec.model = BpeSpec{.options = {.unk_token = "[UNK]"}, .merges = merges};
  return spec;
}

std::unique_ptr<PipelineTokenizer> Make(TokenizerSpec spec) {
  auto tokenizer = PipelineTokenizer::Create(std::move(spec));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

std::vector<std::string> Encode(const Tokenizer& tokenizer, std::string_view text,
                                SpecialTokenText special = SpecialTokenText::kIsToken) {
  std::vector<uint32_t> ids;
  tokenizer.Encode(text, &ids, special);
  std::vector<std::string> tokens;
  for (const uint32_t id : ids) tokens.push_back(tokenizer.Token(id));
  return tokens;
}

TokenizerSpec ByteLevelSpec(bool add_prefix_space) {
  TokenizerSpec spec = SpecWith({"Ġ", "a", "b", "Ġa", "ab", "Ċ", "Ã", "©", "ÿ", "["}, {{"Ġ", "a"}, {"a", "b"}});
  std::get<BpeSpec>(spec.model).options.unk_token.reset();
  spec.pretokenizers = {{.kind = PretokenizerStep::Kind::kByteLevel, .add_prefix_space = add_prefix_space}};
  spec.decoder = {.kind = DecoderSpec::Kind::kByteLevel};
  return spec;
}

TEST(PipelineTokenizerTest, ByteLevel) {
  const auto tokenizer = Make(ByteLevelSpec(true));
  EXPECT_EQ(tokenizer->type(), "byte-level-bpe");
  EXPECT_FALSE(tokenizer->lowercase());
  EXPECT_THAT(Encode(*tokenizer, "ab a\nab"), ElementsAre("Ġa", "b", "Ġa", "Ċ", "ab"));
  EXPECT_THAT(Encode(*tokenizer, "é"), ElementsAre("Ġ", "Ã", "©"));
  EXPECT_THAT(Encode(*tokenizer, "a\xFF"), ElementsAre("Ġa", "ÿ")) << "bytes that are no UTF-8 are kept";
  std::vector<uint32_t> ids;
  tokenizer->Encode("ab é\n[MASK]a", &ids);
  EXPECT_EQ(tokenizer->Decode(ids, false), " ab é\n[MASK] a");
  EXPECT_EQ(tokenizer->Decode(ids), " ab é\n a");
  EXPECT_THAT(Encode(*Make(ByteLevelSpec(false)), "ab a"), ElementsAre("ab", "Ġa"));
}

TEST(PipelineTokenizerTest, SpecialTokensInTheTextAreTextOnDemand) {
  TokenizerSpec spec = SpecWith({"a", "[", "]", "M"});
  spec.pretokenizers = {{.kind = PretokenizerStep::Kind::kWhitespace}};
  const auto tokenizer = Make(spec);
  EXPECT_THAT(Encode(*tokenizer, "a[MASK]a"), ElementsAre("a", "[MASK]", "a"));
  EXPECT_THAT(Encode(*tokenizer, "a[MASK]", SpecialTokenText::kIsText),
              ElementsAre("a", "[", "M", "[UNK]", "[UNK]", "[UNK]", "]"));
}

TEST(PipelineTokenizerTest, WordsBySuffix) {
  TokenizerSpec spec = SpecWith({"a", "b", "a</w>", "b</w>", "ab</w>"}, {{"a", "b</w>"}});
  std::get<BpeSpec>(spec.model).options.end_of_word_suffix = "</w>";
  spec.normalizers = {{.kind = NormalizerStep::Kind::kBert}};
  spec.pretokenizers = {{.kind = PretokenizerStep::Kind::kBert}};
  spec.decoder = {.kind = DecoderSpec::Kind::kBpe, .mark = "</w>"};
  const auto tokenizer = Make(spec);
  EXPECT_EQ(tokenizer->type(), "bpe");
  EXPECT_TRUE(tokenizer->lowercase());
  std::vector<uint32_t> ids;
  tokenizer->Encode(
      "A\xFF"
      "ab Ab",
      &ids);
  EXPECT_THAT(ids, ElementsAre(5, 9, 9)) << "the byte that is no UTF-8 is left out";
  EXPECT_EQ(tokenizer->Decode(ids), "aab ab");
  // A word begins behind what ends one; [UNK] is one itself.
  EXPECT_TRUE(tokenizer->ContinuesWord(5) && tokenizer->ContinuesWord(9));
  EXPECT_FALSE(tokenizer->EndsWord(5));
  EXPECT_TRUE(tokenizer->EndsWord(9));
  EXPECT_TRUE(!tokenizer->ContinuesWord(1) && tokenizer->EndsWord(1));
}

TEST(PipelineTokenizerTest, WordsOfBytesBeginAndEndWithSpace) {
  const auto tokenizer = Make(ByteLevelSpec(true));
  const auto id = [&](std::string_view token) {
    for (uint32_t i = 0; i < tokenizer->size(); ++i) {
      if (tokenizer->Token(i) == token) return i;
    }
    return ~0U;
  };
  EXPECT_FALSE(tokenizer->ContinuesWord(id("Ġa")));
  EXPECT_FALSE(tokenizer->ContinuesWord(id("Ċ")));
  EXPECT_TRUE(tokenizer->ContinuesWord(id("ab")));
  EXPECT_FALSE(tokenizer->EndsWord(id("Ġa")));
  EXPECT_TRUE(tokenizer->EndsWord(id("Ċ"))) << "what follows a line break is a new word";
}

TEST(PipelineTokenizerTest, WordsByPrefixAndWithoutAnyMark) {
  TokenizerSpec spec = SpecWith({"a", "##a", "##"});
  std::get<BpeSpec>(spec.model).options.continuing_subword_prefix = "##";
  const auto prefixed = Make(spec);
  EXPECT_FALSE(prefixed->ContinuesWord(5));
  EXPECT_TRUE(prefixed->ContinuesWord(6));
  EXPECT_FALSE(prefixed->ContinuesWord(7)) << "the prefix alone is a token like any other";
  const auto bare = Make(SpecWith({"a"}));
  EXPECT_FALSE(bare->ContinuesWord(5) || bare->EndsWord(5)) << "nothing tells: every token is a word";
  EXPECT_EQ(bare->Decode(std::vector<uint32_t>{5, 5}), "a a");
}

TEST(PipelineTokenizerTest, AddedTokens) {
  TokenizerSpec spec = SpecWith({"w", "o"});
  const auto add = [&](AddedToken token) {
    token.id = static_cast<uint32_t>(spec.tokens.size());
    spec.tokens.push_back({.content = token.content, .in_model = false});
    spec.added.push_back(token);
  };
  add({.content = "<l>", .lstrip = true});
  add({.content = "<r>", .rstrip = true});
  add({.content = "ow", .single_word = true});
  add({.content = "<l><r>"});
  add({.content = "WW", .normalized = true});
  spec.normalizers = {{.kind = NormalizerStep::Kind::kLowercase}};
  spec.pretokenizers = {{.kind = PretokenizerStep::Kind::kWhitespaceSplit}};
  const auto tokenizer = Make(spec);
  EXPECT_THAT(Encode(*tokenizer, "w  <l> <r> o"), ElementsAre("w", "<l>", "<r>", "o"));
  EXPECT_THAT(Encode(*tokenizer, "<l><r>"), ElementsAre("<l><r>")) << "the longest";
  EXPECT_THAT(Encode(*tokenizer, "ow wow ow!"), ElementsAre("ow", "w", "o", "w", "ow", "[UNK]"));
  EXPECT_THAT(Encode(*tokenizer, "oww"), ElementsAre("o", "WW")) << "found in the normalised text";
  EXPECT_EQ(tokenizer->Decode(std::vector<uint32_t>{6, 11}), "o ww");
}

TEST(PipelineTokenizerTest, RobertaNamesForSpecialTokens) {
  TokenizerSpec spec;
  for (const char* token : {"<s>", "<pad>", "</s>", "<unk>", "a", "<mask>"}) spec.tokens.push_back({.content = token});
  const auto tokenizer = Make(spec);
  const SpecialIds& special = tokenizer->special();
  EXPECT_THAT((std::vector<uint32_t>{special.pad, special.unk, special.cls, special.sep, special.mask}),
              ElementsAre(1, 3, 0, 2, 5));
  spec.tokens.pop_back();
  EXPECT_THAT(PipelineTokenizer::Create(spec).status().message(), HasSubstr("neither [MASK] nor <mask>"));
}

}  // namespace
}  // namespace bert::text
