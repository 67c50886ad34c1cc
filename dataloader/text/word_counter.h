// How often each word occurs in a text, counted by several threads.
#ifndef BERT_DATALOADER_TEXT_WORD_COUNTER_H_
#define BERT_DATALOADER_TEXT_WORD_COUNTER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"

namespace bert::text {

// Texts are gathered until there is work for all threads, and counted while the caller gathers the next. The counts do
// not depend on the number of threads. Memory: the distinct words, and for each thread a bounded number of words and a
// few megabytes of text. To be used by one thread; the ones it starts have ended when Finish returns.
class WordCounter {
 public:
  using Counts = absl::flat_hash_map<std::string, uint64_t>;
  // Calls `word` with each word of `text`. Called by several threads at once; `scratch` is the thread's own, kept from
  // call to call.
  using Splitter =
      std::function<void(std::string_view text, std::string* scratch, absl::FunctionRef<void(std::string_view)> word)>;

  WordCounter(Splitter splitter, int threads);
  ~WordCounter();
  WordCounter(const WordCounter&) = delete;
  WordCounter& operator=(const WordCounter&) = delete;

  void Add(std::string text);

  // Waits until all is counted. Nothing may be added afterwards.
  const Counts& Finish();
  // After Finish: how many words there were, every occurrence counted.
  uint64_t words() const { return words_; }

 private:
  // What one thread counts by itself.
  struct Local {
    Counts counts;
    uint64_t words = 0;
    std::string scratch;
  };

  // Has what is gathered counted, once what was before is.
  void StartWave();
  void WaitForWave();
  void CountTexts(Local* local);
  // Adds a thread's counts to all and forgets them.
  void HandOver(Local* local);

  const Splitter splitter_;
  const size_t threads_;
  std::vector<std::string> gathered_;
  size_t gathered_bytes_ = 0;
  // Not written while threads run.
  std::vector<std::string> wave_;
  std::atomic<size_t> next_text_ = 0;
  std::vector<Local> local_;
  absl::Mutex mutex_;
  Counts total_;  // Written under mutex_ while threads run, which end before it is read.
  uint64_t words_ = 0;
  std::vector<std::jthread> running_;  // Last: ends first.
};

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_WORD_COUNTER_H_
