// String ids that cannot be mistaken for one another.
#ifndef BERT_COMMON_IDS_H_
#define BERT_COMMON_IDS_H_

#include <compare>
#include <string>
#include <utility>

namespace bert {

// An ordered, hashable string with a type of its own. Tag is any incomplete type.
template <typename Tag>
class StrongId {
 public:
  StrongId() = default;
  explicit StrongId(std::string value) : value_(std::move(value)) {}

  const std::string& value() const { return value_; }
  bool empty() const { return value_.empty(); }

  friend auto operator<=>(const StrongId&, const StrongId&) = default;
  friend bool operator==(const StrongId&, const StrongId&) = default;

  template <typename H>
  friend H AbslHashValue(H state, const StrongId& id) {
    return H::combine(std::move(state), id.value_);
  }

 private:
  std::string value_;
};

using JobId = StrongId<struct JobIdTag>;
using NodeName = StrongId<struct NodeNameTag>;

}  // namespace bert

#endif  // BERT_COMMON_IDS_H_
