// Which documents have been seen.
#ifndef BERT_DATALOADER_CORPUS_DIGEST_SET_H_
#define BERT_DATALOADER_CORPUS_DIGEST_SET_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace bert::corpus {

// Two hashes of 64 bits: one alone would take two of a few billion documents for the same.
struct DocumentDigest {
  uint64_t first = 0;
  uint64_t second = 0;

  friend bool operator==(const DocumentDigest&, const DocumentDigest&) = default;
};

DocumentDigest DigestOf(std::string_view document);

// At most 25 bytes a digest, 100 kB at least. It grows in 256 parts, so that a few percent more are in use while one
// does. Not thread-safe.
class DigestSet {
 public:
  // False where it was there.
  bool Insert(DocumentDigest digest);

  int64_t size() const { return size_; }
  int64_t memory_bytes() const;

 private:
  // Open addressing with linear probing; a digest of zeros marks a free slot.
  struct Part {
    std::vector<DocumentDigest> slots;
    size_t used = 0;
  };

  static void Place(std::vector<DocumentDigest>& slots, DocumentDigest digest);
  static size_t Home(const std::vector<DocumentDigest>& slots, DocumentDigest digest);

  std::array<Part, 256> parts_;
  int64_t size_ = 0;
};

}  // namespace bert::corpus

#endif  // BERT_DATALOADER_CORPUS_DIGEST_SET_H_
