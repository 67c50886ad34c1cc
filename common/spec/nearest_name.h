// The name a person probably meant.
#ifndef BERT_COMMON_SPEC_NEAREST_NAME_H_
#define BERT_COMMON_SPEC_NEAREST_NAME_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bert::spec {

// Insertions, deletions, replacements and swaps of neighbours between `a` and `b`.
int EditDistance(std::string_view a, std::string_view b);

// The closest of `names` (the first among equals), or nothing where none is close enough to be a slip of the finger:
// at most a third of the longer name's length, at least 2.
std::optional<std::string> NearestName(std::string_view wrong, const std::vector<std::string>& names);

}  // namespace bert::spec

#endif  // BERT_COMMON_SPEC_NEAREST_NAME_H_
