// The longest of many strings that a text begins with, byte by byte.
#ifndef BERT_DATALOADER_TEXT_VOCABULARY_TRIE_H_
#define BERT_DATALOADER_TEXT_VOCABULARY_TRIE_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace bert::text {

// A trie in a double array (Aoe, 1989): the child of a node by byte b is slot base + b, if that slot names the node as
// its parent. A step is two dependent loads, and the nodes near the root share cache lines.
// Immutable once built; safe to share between threads. Movable.
class VocabularyTrie {
 public:
  using Node = uint32_t;
  static constexpr Node kRoot = 0;
  static constexpr Node kNoNode = UINT32_MAX;
  static constexpr uint32_t kNoId = UINT32_MAX;

  // Without keys: finds nothing.
  VocabularyTrie() : slots_(kBytes + 1) {}

  // `keys`: strings with their ids, sorted by string, each once, none empty; ids below kNoId. They need not outlive
  // the call.
  explicit VocabularyTrie(const std::vector<std::pair<std::string_view, uint32_t>>& keys);

  // kNoNode if there is none.
  Node Child(Node node, uint8_t byte) const {
    const Node child = slots_[node].base + byte;
    return slots_[child].parent == node ? child : kNoNode;
  }

  // The id of the key that ends at `node`, or kNoId.
  uint32_t Id(Node node) const { return slots_[node].id; }

  struct Match {
    uint32_t id;
    // 0: no match.
    size_t bytes;
  };
  // The longest key of which `text` has what follows after the part that leads from the root to `node`, at least a
  // byte.
  Match Longest(Node node, std::string_view text) const {
    Match match{kNoId, 0};
    for (size_t i = 0; i < text.size(); ++i) {
      node = Child(node, static_cast<uint8_t>(text[i]));
      if (node == kNoNode) break;
      if (Id(node) != kNoId) match = {Id(node), i + 1};
    }
    return match;
  }

  // The id of exactly `key`, or kNoId.
  uint32_t Find(std::string_view key) const;

 private:
  friend class TrieBuilder;

  static constexpr size_t kBytes = 256;

  struct Slot {
    Node parent = kNoNode;
    // Always such that base + any byte is inside.
    uint32_t base = 1;
    uint32_t id = kNoId;
  };

  std::vector<Slot> slots_;
};

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_VOCABULARY_TRIE_H_
