#include "dataloader/corpus/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_replace.h"

namespace bert::corpus {
namespace {

using testing::HasSubstr;

Manifest Example() {
  Manifest manifest;
  manifest.tokenizer = {
      .type = "wordpiece", .vocab_size = 100, .lowercase = true, .files = {{"vocab.txt", 7, "xxh128:1"}}};
  manifest.train = {
      .documents = 3,
      .words = 20,
      .tokens = 30,
      .shards = {{"shards/train-00000.bin", 10, "xxh128:2", 1, 10}, {"shards/train-00001.bin", 20, "xxh128:3", 2, 20}}};
  manifest.validation = {.documents = 1, .words = 2, .tokens = 3, .shards = {{"shards/v.bin", 3, "xxh128:4", 1, 3}}};
  manifest.unigram_cross_entropy = 6.0123456789012345;
  manifest.corpora = {{.name = "novels", .files = 1, .bytes = 99, .documents = 4, .words = 22, .tokens = 33}};
  manifest.sources = {{"emma.txt", 99, "xxh128:5"}};
  return manifest;
}

TEST(ManifestTest, RoundTrips) {
  const std::string text = FormatManifest(Example());
  const auto parsed = ParseManifest(text, "manifest.json");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  Manifest expected = Example();
  expected.digest = parsed->digest;
  EXPECT_EQ(*parsed, expected);
  EXPECT_EQ(FormatManifest(*parsed), text);
  EXPECT_THAT(parsed->digest, testing::MatchesRegex("xxh128:[0-9a-f]{32}"));
}

TEST(ManifestTest, TheDigestCoversEveryField) {
  const std::string digest = ParseManifest(FormatManifest(Example()), "m")->digest;
  Manifest other = Example();
  other.train.shards[1].digest = "xxh128:6";
  EXPECT_NE(ParseManifest(FormatManifest(other), "m")->digest, digest);
  const auto changed = ParseManifest(
      absl::StrReplaceAll(FormatManifest(Example()), {{"\"words\": 20", "\"words\": 21"}}), "d/manifest.json");
  EXPECT_EQ(changed.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(changed.status().message(), HasSubstr("d/manifest.json: digest is "));
}

TEST(ManifestTest, WhiteSpaceIsNotContent) {
  const std::string text = FormatManifest(Example());
  EXPECT_TRUE(ParseManifest(absl::StrReplaceAll(text, {{"\n", " \n\t"}}), "m").ok());
}

TEST(ManifestTest, ButBytesAre) {
  const std::string text = FormatManifest(Example());
  EXPECT_TRUE(CheckManifestBytes(text, "m").ok());
  EXPECT_TRUE(absl::IsDataLoss(CheckManifestBytes(text + " ", "m")));
  EXPECT_TRUE(absl::IsDataLoss(CheckManifestBytes(text.substr(1), "m")));
  // A digit more than a double holds.
  std::string longer = text;
  longer.insert(longer.find(',', longer.find("unigram_cross_entropy")), "0");
  EXPECT_TRUE(ParseManifest(longer, "m").ok());
  EXPECT_TRUE(absl::IsDataLoss(CheckManifestBytes(longer, "m")));
}

TEST(ManifestTest, DatasetsOfBeforeThereWereCorporaAreRead) {
  Manifest old = Example();
  old.corpora.clear();
  const auto parsed = ParseManifest(FormatManifest(old), "m");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->corpora.empty());
  EXPECT_EQ(FormatManifest(old).find("corpora"), std::string::npos) << "its digest stays what it was";
}

TEST(ManifestTest, MistakesAreNamedByField) {
  struct Case {
    std::string from;
    std::string to;
    std::string message;
  };
  for (const Case& c :
       {Case{"{", "[", "not JSON"}, Case{"\"token_bytes\": 2", "\"token_bytes\": 3", "token_bytes is neither"},
        Case{"\"version\": 1", "\"version\": 2", "version is not 1"},
        Case{"\"version\": 1", "\"version\": \"1\"", "version is not a whole number"},
        Case{"\"vocab_size\": 100", "\"vocab_size\": -1", "tokenizer.vocab_size is not a whole number"},
        Case{"\"lowercase\"", "\"other\"", "tokenizer.lowercase is missing"},
        Case{"\"file\": \"shards/v.bin\"", "\"file\": \"../v.bin\"",
             "splits.validation.shards[0].file leaves the dataset"},
        Case{"\"name\": \"vocab.txt\"", "\"name\": \"/etc/passwd\"", "tokenizer.files[0].name leaves"},
        Case{"\"text_bytes\": 0", "\"text_bytes\": -1", "corpora[0].text_bytes is not a whole number"},
        Case{"\"documents\": 3", "\"documents\": 4", "splits.train.documents is not the sum"},
        Case{"\"tokens\": 30", "\"tokens\": 18446744073709551615", "splits.train.tokens is too large"}}) {
    const std::string text = absl::StrReplaceAll(FormatManifest(Example()), {{c.from, c.to}});
    const auto parsed = ParseManifest(text, "manifest.json");
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kDataLoss) << c.to;
    EXPECT_THAT(parsed.status().message(), HasSubstr("manifest.json: "));
    EXPECT_THAT(parsed.status().message(), HasSubstr(c.message));
  }
  EXPECT_FALSE(ParseManifest("[]", "m").ok());
  EXPECT_FALSE(ParseManifest("", "m").ok());
}

}  // namespace
}  // namespace bert::corpus
