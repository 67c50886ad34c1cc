// Tokens that are looked for in the text before anything else is done to it.
#ifndef BERT_DATALOADER_TEXT_ADDED_TOKENS_H_
#define BERT_DATALOADER_TEXT_ADDED_TOKENS_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "dataloader/text/tokenizer.h"

namespace bert::text {

// As in the added_tokens of a tokenizer.json.
struct AddedToken {
  uint32_t id = 0;
  std::string content = {};
  // Only where no word character is beside it.
  bool single_word = false;
  // Takes the white space before it, or behind it, along.
  bool lstrip = false;
  bool rstrip = false;
  // Looked for in the text after normalisation, and normalised itself.
  bool normalized = false;
  // A control token: not looked for with SpecialTokenText::kIsText, and left out of decoded text on demand.
  bool special = false;

  bool operator==(const AddedToken&) const = default;
};

// Finds tokens of one kind, raw or normalised; at each place the longest. Immutable.
class AddedTokenFinder {
 public:
  // `tokens`, with content as it is to be found; those without any are left out.
  explicit AddedTokenFinder(std::vector<AddedToken> tokens);

  // Calls `plain` with the text between the tokens, never empty, and `token` with the id of each, in order.
  void Split(std::string_view text, SpecialTokenText special, absl::FunctionRef<void(std::string_view)> plain,
             absl::FunctionRef<void(uint32_t)> token) const;

 private:
  // The longest token that `text` begins with, or null.
  const AddedToken* At(std::string_view text) const;

  std::vector<AddedToken> tokens_;          // The longest first.
  std::array<bool, 256> first_bytes_ = {};  // What any begins with.
};

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_ADDED_TOKENS_H_
