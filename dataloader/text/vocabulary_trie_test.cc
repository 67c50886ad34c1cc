#include "dataloader/text/vocabulary_trie.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace bert::text {
namespace {

VocabularyTrie Make(const std::map<std::string, uint32_t>& keys) { return VocabularyTrie({keys.begin(), keys.end()}); }

TEST(VocabularyTrieTest, FindsWholeKeysOnly) {
  const VocabularyTrie trie = Make({{"a", 7}, {"abc", 0}, {"b", 3}, {"\xFF\xFF", 4}, {std::string("\0x", 2), 5}});
  EXPECT_EQ(trie.Find("a"), 7u);
  EXPECT_EQ(trie.Find("abc"), 0u);
  EXPECT_EQ(trie.Find("\xFF\xFF"), 4u);
  EXPECT_EQ(trie.Find(std::string_view("\0x", 2)), 5u);
  EXPECT_EQ(trie.Find("ab"), VocabularyTrie::kNoId);
  EXPECT_EQ(trie.Find("abcd"), VocabularyTrie::kNoId);
  EXPECT_EQ(trie.Find(""), VocabularyTrie::kNoId);
}

TEST(VocabularyTrieTest, TakesTheLongestFromAnyNode) {
  const VocabularyTrie trie = Make({{"a", 1}, {"abcd", 2}, {"b", 3}, {"bcdz", 4}});
  EXPECT_EQ(trie.Longest(VocabularyTrie::kRoot, "abcx").id, 1u);
  EXPECT_EQ(trie.Longest(VocabularyTrie::kRoot, "abcx").bytes, 1u);
  EXPECT_EQ(trie.Longest(VocabularyTrie::kRoot, "abcdx").bytes, 4u);
  EXPECT_EQ(trie.Longest(VocabularyTrie::kRoot, "x").bytes, 0u);
  const VocabularyTrie::Node a = trie.Child(VocabularyTrie::kRoot, 'a');
  EXPECT_EQ(trie.Longest(a, "bcd").id, 2u);
  EXPECT_EQ(trie.Longest(a, "").bytes, 0u) << "the node's own key is no match";
}

TEST(VocabularyTrieTest, WithoutKeysFindsNothing) {
  const VocabularyTrie none;
  const VocabularyTrie empty = Make({});
  for (int byte = 0; byte < 256; ++byte) {
    EXPECT_EQ(none.Child(VocabularyTrie::kRoot, static_cast<uint8_t>(byte)), VocabularyTrie::kNoNode);
    EXPECT_EQ(empty.Child(VocabularyTrie::kRoot, static_cast<uint8_t>(byte)), VocabularyTrie::kNoNode);
  }
}

TEST(VocabularyTrieTest, AgreesWithAMapOnRandomKeys) {
  constexpr uint64_t kSeed = 11;
  std::mt19937_64 random(kSeed);
  // Few different bytes make long shared beginnings, many make wide nodes.
  for (const uint64_t bytes : {2, 5, 256}) {
    const auto draw = [&](uint64_t length_max) {
      std::string key(1 + random() % length_max, '\0');
      for (char& byte : key) byte = static_cast<char>(random() % bytes);
      return key;
    };
    std::map<std::string, uint32_t> keys;
    for (uint32_t id = 0; id < 5000; ++id) keys.emplace(draw(12), id);
    const VocabularyTrie trie = Make(keys);
    for (const auto& [key, id] : keys) ASSERT_EQ(trie.Find(key), id) << "seed " << kSeed;
    for (int i = 0; i < 5000; ++i) {
      const std::string text = draw(20);
      std::string longest;
      for (size_t length = 1; length <= text.size(); ++length) {
        if (keys.contains(text.substr(0, length))) longest = text.substr(0, length);
      }
      const VocabularyTrie::Match match = trie.Longest(VocabularyTrie::kRoot, text);
      ASSERT_EQ(match.bytes, longest.size()) << "seed " << kSeed;
      ASSERT_EQ(match.id, longest.empty() ? VocabularyTrie::kNoId : keys.at(longest)) << "seed " << kSeed;
      const auto found = keys.find(text);
      ASSERT_EQ(trie.Find(text), found == keys.end() ? VocabularyTrie::kNoId : found->second) << "seed " << kSeed;
    }
  }
}

}  // namespace
}  // namespace bert::text
