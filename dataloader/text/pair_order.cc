#include "dataloader/text/pair_order.h"

#include <algorithm>
#include <queue>

namespace bert::text {
namespace {

constexpr uint32_t kNoPair = 0xFFFFFFFF;

// Counts mostly fall after they were queued, and a queued count that is too high only costs another look. Where a count
// rises, a new entry stands for it.
class FrequencyOrder final : public PairOrder {
 public:
  FrequencyOrder(const PairTable& table, uint64_t min_frequency)
      : table_(table), min_frequency_(std::max<uint64_t>(min_frequency, 1)) {
    for (uint32_t number = 0; number < table.pairs(); ++number) Push(number);
  }

  std::optional<uint32_t> Best() override {
    while (!queue_.empty()) {
      const Candidate top = queue_.top();
      const uint64_t count = table_.count(top.number);
      if (count == top.count) return top.number;
      queue_.pop();
      if (count < top.count) Push(top.number);
    }
    return std::nullopt;
  }

  void Merged(TokenPair, uint32_t merged, absl::Span<const uint32_t> changed) override {
    for (const uint32_t number : changed) {
      const TokenPair pair = table_.pair(number);
      if (pair.first == merged || pair.second == merged) Push(number);
    }
  }

 private:
  struct Candidate {
    uint64_t count;
    TokenPair pair;
    uint32_t number;

    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : pair > other.pair;
    }
  };

  void Push(uint32_t number) {
    const uint64_t count = table_.count(number);
    if (count >= min_frequency_) queue_.push({count, table_.pair(number), number});
  }

  const PairTable& table_;
  const uint64_t min_frequency_;
  std::priority_queue<Candidate> queue_;
};

// A merge makes its two tokens rarer, which raises the score of every pair they are in, so no queue of pairs stays in
// order. Kept instead is the best pair of each first token, and a queue of these.
class ScoreOrder final : public PairOrder {
 public:
  ScoreOrder(const PairTable& table, uint64_t min_frequency)
      : table_(table), min_frequency_(std::max<uint64_t>(min_frequency, 1)) {
    for (uint32_t number = 0; number < table.pairs(); ++number) List(number);
    for (uint32_t first = 0; first < rows_.size(); ++first) FindBest(first);
  }

  std::optional<uint32_t> Best() override {
    while (!queue_.empty()) {
      const Candidate top = queue_.top();
      if (rows_[top.pair.first].best == top.number && Score(top.number) == top.score) return top.number;
      queue_.pop();
    }
    return std::nullopt;
  }

  void Merged(TokenPair pair, uint32_t merged, absl::Span<const uint32_t> changed) override {
    for (const uint32_t number : changed) {
      List(number);
      Reconsider(number);
    }
    // Of these tokens every pair has another score now.
    for (const uint32_t token : {pair.first, pair.second, merged}) {
      if (token >= rows_.size()) continue;
      FindBest(token);
      std::vector<uint32_t>& before = rows_[token].before;
      std::erase_if(before, [this](uint32_t number) { return Unlist(number, kListedBySecond); });
      for (const uint32_t number : before) Reconsider(number);
    }
  }

 private:
  struct Candidate {
    double score;
    TokenPair pair;
    uint32_t number;

    bool operator<(const Candidate& other) const {
      return score != other.score ? score < other.score : pair > other.pair;
    }
  };
  struct Row {
    // Pairs with the token first, and second. Some may not occur any more.
    std::vector<uint32_t> behind;
    std::vector<uint32_t> before;
    uint32_t best = kNoPair;
  };
  static constexpr uint8_t kListedByFirst = 1;
  static constexpr uint8_t kListedBySecond = 2;

  double Score(uint32_t number) const {
    const TokenPair pair = table_.pair(number);
    return static_cast<double>(table_.count(number)) /
           (static_cast<double>(table_.token_count(pair.first)) * static_cast<double>(table_.token_count(pair.second)));
  }

  bool IsCandidate(uint32_t number) const { return table_.count(number) >= min_frequency_; }

  void List(uint32_t number) {
    if (number >= listed_.size()) listed_.resize(table_.pairs());
    if (table_.count(number) == 0) return;
    const TokenPair pair = table_.pair(number);
    if (const uint32_t rows = std::max(pair.first, pair.second) + 1; rows > rows_.size()) rows_.resize(rows);
    if ((listed_[number] & kListedByFirst) == 0) rows_[pair.first].behind.push_back(number);
    if ((listed_[number] & kListedBySecond) == 0) rows_[pair.second].before.push_back(number);
    listed_[number] = kListedByFirst | kListedBySecond;
  }

  // Whether the pair is gone and so may leave the list named; it is listed again should it come back.
  bool Unlist(uint32_t number, uint8_t list) {
    if (table_.count(number) != 0) return false;
    listed_[number] &= static_cast<uint8_t>(~list);
    return true;
  }

  void Push(uint32_t number) { queue_.push({Score(number), table_.pair(number), number}); }

  // Whether `a` goes before `b`.
  bool Better(uint32_t a, uint32_t b) const {
    return Candidate{Score(b), table_.pair(b), b} < Candidate{Score(a), table_.pair(a), a};
  }

  void FindBest(uint32_t first) {
    Row& row = rows_[first];
    std::erase_if(row.behind, [this](uint32_t number) { return Unlist(number, kListedByFirst); });
    row.best = kNoPair;
    for (const uint32_t number : row.behind) {
      if (IsCandidate(number) && (row.best == kNoPair || Better(number, row.best))) row.best = number;
    }
    if (row.best != kNoPair) Push(row.best);
  }

  // After the pair's score, and no other of its row, may have changed.
  void Reconsider(uint32_t number) {
    const uint32_t first = table_.pair(number).first;
    if (first >= rows_.size()) return;
    Row& row = rows_[first];
    if (row.best == number) {
      FindBest(first);
    } else if (IsCandidate(number) && (row.best == kNoPair || Better(number, row.best))) {
      row.best = number;
      Push(number);
    }
  }

  const PairTable& table_;
  const uint64_t min_frequency_;
  std::vector<Row> rows_;
  std::vector<uint8_t> listed_;  // By number: the lists it is in.
  std::priority_queue<Candidate> queue_;
};

}  // namespace

std::unique_ptr<PairOrder> OrderByFrequency(const PairTable& table, uint64_t min_frequency) {
  return std::make_unique<FrequencyOrder>(table, min_frequency);
}

std::unique_ptr<PairOrder> OrderByScore(const PairTable& table, uint64_t min_frequency) {
  return std::make_unique<ScoreOrder>(table, min_frequency);
}

}  // namespace bert::text
