// Encodes strings in bulk for tests/tokenizer_fuzz_test.py, which compares the result with Hugging Face's.
//
//   encode_strings --tokenizer DIR [--split-special-tokens] <strings >tokens
//
// All numbers are 32-bit, in the machine's order. In, batch after batch: how many strings, the length of each in bytes,
// the strings. Out for each batch: how many tokens each string has, then of every token its id and its span in code
// points.
#include <CLI/CLI.hpp>
#include <cstdint>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/status_macros.h"
#include "dataloader/text/tokenizer_files.h"

namespace bert::text {
namespace {

// False at the end of the input.
template <typename T>
bool Read(std::istream& in, T* values, size_t count) {
  in.read(reinterpret_cast<char*>(values), static_cast<std::streamsize>(count * sizeof(T)));
  return in.gcount() == static_cast<std::streamsize>(count * sizeof(T));
}

void Write(std::ostream& out, const std::vector<uint32_t>& values) {
  out.write(reinterpret_cast<const char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(uint32_t)));
}

absl::Status EncodeBatches(const WordPieceTokenizer& tokenizer, SpecialTokenText special, std::istream& in,
                           std::ostream& out) {
  uint32_t strings = 0;
  while (Read(in, &strings, 1)) {
    std::vector<uint32_t> lengths(strings);
    if (!Read(in, lengths.data(), lengths.size())) return absl::InvalidArgumentError("the input ends inside lengths");
    std::vector<uint32_t> counts;
    std::vector<uint32_t> tokens;
    for (const uint32_t length : lengths) {
      // Exactly as long as the string, so that a sanitizer sees a step past its end.
      std::vector<char> bytes(length);
      if (!Read(in, bytes.data(), bytes.size())) return absl::InvalidArgumentError("the input ends inside a string");
      const std::string_view text(bytes.data(), bytes.size());
      std::vector<uint32_t> ids;
      std::vector<ByteSpan> spans;
      tokenizer.EncodeWithOffsets(text, &ids, &spans, special);
      std::vector<uint32_t> ids_alone;
      tokenizer.Encode(text, &ids_alone, special);
      if (ids_alone != ids)
        return absl::InternalError(absl::StrCat("Encode gives other ids for '",
                                                absl::CHexEscape(absl::string_view(bytes.data(), bytes.size())), "'"));
      const std::vector<ByteSpan> code_points = CodePointSpans(text, spans);
      counts.push_back(static_cast<uint32_t>(ids.size()));
      for (size_t i = 0; i < ids.size(); ++i) {
        tokens.push_back(ids[i]);
        tokens.push_back(static_cast<uint32_t>(code_points[i].begin));
        tokens.push_back(static_cast<uint32_t>(code_points[i].end));
      }
    }
    Write(out, counts);
    Write(out, tokens);
    out.flush();
  }
  return out ? absl::OkStatus() : absl::InternalError("cannot write the output");
}

}  // namespace
}  // namespace bert::text

int main(int argc, char** argv) {
  std::string directory;
  bool split_special_tokens = false;
  CLI::App app("Encodes strings in bulk, for tests.");
  app.add_option("--tokenizer", directory, "Directory with vocab.txt and tokenizer_config.json")->required();
  app.add_flag("--split-special-tokens", split_special_tokens,
               "Take names of special tokens in the text as plain text");
  CLI11_PARSE(app, argc, argv);
  std::ios::sync_with_stdio(false);
  const auto tokenizer = bert::text::LoadTokenizer(directory);
  absl::Status status = tokenizer.status();
  if (status.ok()) {
    const auto special =
        split_special_tokens ? bert::text::SpecialTokenText::kIsText : bert::text::SpecialTokenText::kIsToken;
    status = bert::text::EncodeBatches(*tokenizer, special, std::cin, std::cout);
  }
  if (status.ok()) return 0;
  std::cerr << "encode_strings: " << status.message() << "\n";
  return 1;
}
