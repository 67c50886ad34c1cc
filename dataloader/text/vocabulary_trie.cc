#include "dataloader/text/vocabulary_trie.h"

#include <algorithm>

#include "absl/types/span.h"
#include "common/check.h"

namespace bert::text {

using Keys = absl::Span<const std::pair<std::string_view, uint32_t>>;

// Finds each node's children a place. Free slots are kept in a ring through slot 0, which is the root and never free.
class TrieBuilder {
 public:
  explicit TrieBuilder(std::vector<VocabularyTrie::Slot>* slots) : slots_(*slots) {
    slots_.assign(1, {});
    next_.assign(1, 0);
    previous_.assign(1, 0);
  }

  void Build(Keys keys) {
    // Depth first and without recursion: a key may be as long as a file.
    std::vector<Task> tasks;
    if (!keys.empty()) tasks.push_back({VocabularyTrie::kRoot, 0, keys});
    while (!tasks.empty()) {
      const Task task = tasks.back();
      tasks.pop_back();
      Place(task, &tasks);
    }
    size_t size = slots_.size();
    for (const VocabularyTrie::Slot& slot : slots_) size = std::max(size, slot.base + VocabularyTrie::kBytes);
    slots_.resize(size);
    slots_.shrink_to_fit();
  }

 private:
  // The keys below `node`: those that share its `depth` first bytes.
  struct Task {
    VocabularyTrie::Node node;
    size_t depth;
    Keys keys;
  };

  // A node with many children looks at so many free slots before it takes new ones at the end.
  static constexpr int kAttempts = 200;

  static uint8_t Byte(const Task& task, size_t key) { return static_cast<uint8_t>(task.keys[key].first[task.depth]); }

  void Place(const Task& task, std::vector<Task>* tasks) {
    // A key that ends here comes first, because it is the shortest.
    size_t begin = task.keys.front().first.size() == task.depth ? 1 : 0;
    labels_.clear();
    for (size_t key = begin; key < task.keys.size(); ++key) {
      if (labels_.empty() || labels_.back() != Byte(task, key)) labels_.push_back(Byte(task, key));
    }
    if (labels_.empty()) return;
    const uint32_t base = FindBase();
    slots_[task.node].base = base;
    for (const uint8_t label : labels_) {
      size_t end = begin;
      while (end < task.keys.size() && Byte(task, end) == label) ++end;
      const VocabularyTrie::Node child = base + label;
      Take(child);
      slots_[child].parent = task.node;
      const auto& [first, id] = task.keys[begin];
      if (first.size() == task.depth + 1) slots_[child].id = id;
      tasks->push_back({child, task.depth + 1, task.keys.subspan(begin, end - begin)});
      begin = end;
    }
  }

  // A base whose slots for all of labels_ are there and free.
  uint32_t FindBase() {
    const uint8_t lowest = labels_.front();
    int attempts = 0;
    for (uint32_t slot = next_[0]; slot != 0 && attempts < kAttempts; slot = next_[slot], ++attempts) {
      // A base of 0 would make the root its own child.
      if (slot <= lowest) continue;
      const uint32_t base = slot - lowest;
      if (std::all_of(labels_.begin(), labels_.end(), [&](uint8_t label) { return IsFree(base + label); })) {
        return Reserve(base);
      }
    }
    return Reserve(static_cast<uint32_t>(slots_.size()));
  }

  uint32_t Reserve(uint32_t base) {
    while (slots_.size() < base + VocabularyTrie::kBytes) {
      BERT_CHECK(slots_.size() < VocabularyTrie::kNoNode) << "the vocabulary is too large";
      const auto added = static_cast<uint32_t>(slots_.size());
      slots_.emplace_back();
      next_.push_back(0);
      previous_.push_back(previous_[0]);
      next_[previous_[0]] = added;
      previous_[0] = added;
    }
    return base;
  }

  // Slots past the end are, too.
  bool IsFree(uint32_t slot) const { return slot >= slots_.size() || slots_[slot].parent == VocabularyTrie::kNoNode; }

  void Take(uint32_t slot) {
    next_[previous_[slot]] = next_[slot];
    previous_[next_[slot]] = previous_[slot];
  }

  std::vector<VocabularyTrie::Slot>& slots_;
  std::vector<uint32_t> next_;
  std::vector<uint32_t> previous_;
  std::vector<uint8_t> labels_;
};

VocabularyTrie::VocabularyTrie(const std::vector<std::pair<std::string_view, uint32_t>>& keys) {
  TrieBuilder(&slots_).Build(keys);
}

uint32_t VocabularyTrie::Find(std::string_view key) const {
  Node node = kRoot;
  for (const char byte : key) {
    node = Child(node, static_cast<uint8_t>(byte));
    if (node == kNoNode) return kNoId;
  }
  return Id(node);
}

}  // namespace bert::text
