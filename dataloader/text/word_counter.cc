#include "dataloader/text/word_counter.h"

#include <pthread.h>

#include <utility>

#include "absl/strings/string_view.h"

namespace bert::text {
namespace {

constexpr size_t kWaveBytesPerThread = 4 << 20;
// English gets by with a table of this size for megabytes of text, and it still fits the cache.
constexpr size_t kLocalWordsMax = 1 << 16;

}  // namespace

WordCounter::WordCounter(Splitter splitter, int threads)
    : splitter_(std::move(splitter)), threads_(static_cast<size_t>(threads)), local_(threads_) {}

WordCounter::~WordCounter() = default;

void WordCounter::Add(std::string text) {
  gathered_bytes_ += text.size();
  gathered_.push_back(std::move(text));
  if (gathered_bytes_ >= kWaveBytesPerThread * threads_) StartWave();
}

void WordCounter::StartWave() {
  WaitForWave();
  wave_ = std::exchange(gathered_, {});
  gathered_bytes_ = 0;
  next_text_ = 0;
  for (size_t thread = 0; thread < threads_; ++thread) {
    running_.emplace_back([this, thread] {
      pthread_setname_np(pthread_self(), "words");
      CountTexts(&local_[thread]);
    });
  }
}

void WordCounter::WaitForWave() { running_.clear(); }

void WordCounter::CountTexts(Local* local) {
  for (size_t i = next_text_++; i < wave_.size(); i = next_text_++) {
    splitter_(wave_[i], &local->scratch, [local](std::string_view word) {
      ++local->words;
      ++local->counts[absl::string_view(word.data(), word.size())];
    });
    if (local->counts.size() >= kLocalWordsMax) HandOver(local);
  }
}

void WordCounter::HandOver(Local* local) {
  absl::MutexLock lock(&mutex_);
  for (const auto& [word, count] : local->counts) total_[word] += count;
  local->counts.clear();
}

const WordCounter::Counts& WordCounter::Finish() {
  StartWave();
  WaitForWave();
  for (Local& local : local_) {
    HandOver(&local);
    words_ += std::exchange(local.words, 0);
  }
  return total_;
}

}  // namespace bert::text
