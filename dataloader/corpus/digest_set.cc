#include "dataloader/corpus/digest_set.h"

#include <utility>

#include "common/digest.h"

namespace bert::corpus {
namespace {

constexpr DocumentDigest kFree;
// A part is rebuilt a quarter larger when four fifths of it are used.
constexpr size_t kUsedOf = 5;
constexpr size_t kUsedMost = 4;
constexpr size_t kSlotsAtFirst = 24;

}  // namespace

DocumentDigest DigestOf(std::string_view document) { return {StableHash(document, 0), StableHash(document, 1)}; }

size_t DigestSet::Home(const std::vector<DocumentDigest>& slots, DocumentDigest digest) {
  // The hash as a fraction of the slots: needs no power of two, as a remainder would.
  return static_cast<size_t>((static_cast<unsigned __int128>(digest.second) * slots.size()) >> 64);
}

void DigestSet::Place(std::vector<DocumentDigest>& slots, DocumentDigest digest) {
  size_t slot = Home(slots, digest);
  while (slots[slot] != kFree) slot = slot + 1 == slots.size() ? 0 : slot + 1;
  slots[slot] = digest;
}

bool DigestSet::Insert(DocumentDigest digest) {
  if (digest == kFree) digest.second = 1;
  Part& part = parts_[digest.first >> 56];
  if (kUsedOf * (part.used + 1) > kUsedMost * part.slots.size()) {
    std::vector<DocumentDigest> larger(part.slots.size() + part.slots.size() / 4 + kSlotsAtFirst);
    for (const DocumentDigest& known : part.slots) {
      if (known != kFree) Place(larger, known);
    }
    part.slots = std::move(larger);
  }
  size_t slot = Home(part.slots, digest);
  while (part.slots[slot] != kFree) {
    if (part.slots[slot] == digest) return false;
    slot = slot + 1 == part.slots.size() ? 0 : slot + 1;
  }
  part.slots[slot] = digest;
  ++part.used;
  ++size_;
  return true;
}

int64_t DigestSet::memory_bytes() const {
  size_t slots = 0;
  for (const Part& part : parts_) slots += part.slots.capacity();
  return static_cast<int64_t>(slots * sizeof(DocumentDigest) + sizeof(*this));
}

}  // namespace bert::corpus
