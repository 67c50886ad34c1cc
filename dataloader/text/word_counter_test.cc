#include "dataloader/text/word_counter.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace bert::text {
namespace {

WordCounter::Splitter AtSpaces() {
  return [](std::string_view text, std::string*, absl::FunctionRef<void(std::string_view)> word) {
    while (!text.empty()) {
      const size_t end = std::min(text.find(' '), text.size());
      word(text.substr(0, end));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  };
}

TEST(WordCounterTest, CountsMoreTextAndMoreWordsThanAThreadKeeps) {
  constexpr int kTexts = 60;
  constexpr int kWords = 20'000;
  for (const int threads : {1, 3}) {
    WordCounter counter(AtSpaces(), threads);
    // 60 texts of 200 kB: several waves. 80,000 distinct words: more than one thread's table holds.
    for (int text = 0; text < kTexts; ++text) {
      std::string content;
      for (int word = 0; word < kWords; ++word) absl::StrAppend(&content, "word", (text % 4) * kWords + word, " ");
      content.pop_back();
      counter.Add(std::move(content));
    }
    const WordCounter::Counts& counts = counter.Finish();
    EXPECT_EQ(counter.words(), uint64_t{kTexts} * kWords);
    EXPECT_EQ(counts.size(), 4u * kWords);
    EXPECT_EQ(counts.at("word0"), 15u);
    EXPECT_EQ(counts.at("word79999"), 15u);
  }
}

TEST(WordCounterTest, NothingIsNoWords) {
  WordCounter counter(AtSpaces(), 2);
  EXPECT_TRUE(counter.Finish().empty());
  EXPECT_EQ(counter.words(), 0u);
}

}  // namespace
}  // namespace bert::text
