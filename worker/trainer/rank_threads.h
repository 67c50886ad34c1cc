// Several ranks in one test process.
#ifndef BERT_WORKER_TRAINER_RANK_THREADS_H_
#define BERT_WORKER_TRAINER_RANK_THREADS_H_

#include <gtest/gtest.h>

#include <functional>
#include <thread>
#include <vector>

#include "worker/collective/collective.h"

namespace bert::trainer {

// Calls `body` for each of `world_size` ranks, in threads that are joined in a real group.
inline void RunRanks(int world_size, const std::function<void(collective::Collective&)>& body) {
  auto store = collective::Store::Start("127.0.0.1");
  ASSERT_TRUE(store.ok()) << store.status();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world_size; ++rank) {
    threads.emplace_back([&, rank] {
      auto group = collective::Connect(
          {.rank = rank, .world_size = world_size, .store_address = (*store)->address(), .timeout = absl::Seconds(60)});
      ASSERT_TRUE(group.ok()) << group.status();
      body(**group);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_RANK_THREADS_H_
