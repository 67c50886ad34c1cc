// How a global batch is cut: into lanes, ranks and micro-batches.
#ifndef BERT_WORKER_TRAINER_ROW_SPLIT_H_
#define BERT_WORKER_TRAINER_ROW_SPLIT_H_

#include <cstdint>

namespace bert::trainer {

// [begin, end)
struct Part {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
  friend bool operator==(const Part&, const Part&) = default;
};

// Part `index` of `count` near-equal, consecutive parts of [0, total).
inline Part PartOf(int64_t total, int64_t index, int64_t count) {
  return {total * index / count, total * (index + 1) / count};
}

// A seed for the dropout of one micro-batch, spread over all 64 bits. The same four numbers, the same seed.
uint64_t DropoutSeed(uint64_t job_seed, int64_t step, int64_t lane_or_row, int64_t micro_batch);

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_ROW_SPLIT_H_
