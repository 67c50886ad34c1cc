#include "dataloader/text/normalizer_step.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>
#include <unicode/unistr.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "common/check.h"
#include "dataloader/text/unicode.h"

namespace bert::text {
namespace {

// ICU's normal form of what Unicode 9 had; later characters stay as they are, and nothing composes with them.
class NormalForm {
 public:
  NormalForm(const char* name, UNormalization2Mode mode) {
    UErrorCode error = U_ZERO_ERROR;
    const icu::UnicodeSet known(icu::UnicodeString::fromUTF8("[:age=9.0:]"), error);
    const icu::Normalizer2* form = icu::Normalizer2::getInstance(nullptr, name, mode, error);
    BERT_CHECK(U_SUCCESS(error)) << "ICU has no data for " << name << ": " << u_errorName(error);
    known_ = std::make_unique<icu::UnicodeSet>(known);
    known_->freeze();
    form_ = std::make_unique<icu::FilteredNormalizer2>(*form, *known_);
  }

  std::string operator()(std::string_view text) const {
    UErrorCode error = U_ZERO_ERROR;
    const icu::UnicodeString in =
        icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
    icu::UnicodeString out;
    form_->normalize(in, out, error);
    BERT_CHECK(U_SUCCESS(error)) << "normalising: " << u_errorName(error);
    std::string bytes;
    return out.toUTF8String(bytes);
  }

 private:
  std::unique_ptr<icu::UnicodeSet> known_;
  std::unique_ptr<icu::FilteredNormalizer2> form_;
};

const NormalForm& FormOf(NormalizerStep::Kind kind) {
  static const NormalForm* const nfc = new NormalForm("nfc", UNORM2_COMPOSE);
  static const NormalForm* const nfd = new NormalForm("nfc", UNORM2_DECOMPOSE);
  static const NormalForm* const nfkc = new NormalForm("nfkc", UNORM2_COMPOSE);
  static const NormalForm* const nfkd = new NormalForm("nfkc", UNORM2_DECOMPOSE);
  switch (kind) {
    case NormalizerStep::Kind::kNfc:
      return *nfc;
    case NormalizerStep::Kind::kNfd:
      return *nfd;
    case NormalizerStep::Kind::kNfkc:
      return *nfkc;
    default:
      return *nfkd;
  }
}

// Mn, Mc and Me of Unicode 9; two characters that were letters later count too, one that became a mark does not.
bool IsMark(char32_t c) {
  if (c < 0x300 || c == 0x111C9) return false;
  if (c == 0x1CF2 || c == 0x1CF3) return true;
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(c), age);
  return age[0] != 0 && age[0] <= 9 && (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_M_MASK) != 0;
}

// Steps of BertNormalizer that it does not do alone: without cleaning, what would go is kept and no space changed.
std::string BertWithoutCleaning(const NormalizerOptions& options, std::string_view text) {
  std::string spaced;
  if (options.handle_chinese_chars) {
    for (size_t offset = 0; offset < text.size();) {
      const size_t begin = offset;
      const bool chinese = IsChinese(DecodeUtf8(text, &offset));
      if (chinese) spaced.push_back(' ');
      spaced.append(text.substr(begin, offset - begin));
      if (chinese) spaced.push_back(' ');
    }
  } else {
    spaced = text;
  }
  if (options.strip_accents.value_or(options.lowercase)) {
    const std::string decomposed = FormOf(NormalizerStep::Kind::kNfd)(spaced);
    spaced.clear();
    for (size_t offset = 0; offset < decomposed.size();) {
      const char32_t c = DecodeUtf8(decomposed, &offset);
      if (!IsNonspacingMark(c)) AppendUtf8(c, &spaced);
    }
  }
  if (!options.lowercase) return spaced;
  return Normalized({.kind = NormalizerStep::Kind::kLowercase}, spaced);
}

std::string Stripped(std::string_view text, bool left, bool right) {
  size_t begin = 0;
  while (left && begin < text.size()) {
    size_t next = begin;
    if (!IsWhitespace(DecodeUtf8(text, &next))) break;
    begin = next;
  }
  size_t end = text.size();
  while (right && end > begin) {
    size_t last = end - 1;
    while (last > begin && (static_cast<uint8_t>(text[last]) & 0xC0) == 0x80) --last;
    size_t next = last;
    if (!IsWhitespace(DecodeUtf8(text, &next))) break;
    end = last;
  }
  return std::string(text.substr(begin, end - begin));
}

}  // namespace

std::string Normalized(const NormalizerStep& step, std::string_view text) {
  std::string out;
  switch (step.kind) {
    case NormalizerStep::Kind::kBert:
      if (!step.clean_text) return BertWithoutCleaning(step.bert, text);
      BertNormalizer(step.bert).Normalize(text, &out);
      return out;
    case NormalizerStep::Kind::kNfc:
    case NormalizerStep::Kind::kNfd:
    case NormalizerStep::Kind::kNfkc:
    case NormalizerStep::Kind::kNfkd:
      return FormOf(step.kind)(text);
    case NormalizerStep::Kind::kLowercase:
      for (size_t offset = 0; offset < text.size();) AppendLowercaseUtf8(DecodeUtf8(text, &offset), &out);
      return out;
    case NormalizerStep::Kind::kStripAccents:
      for (size_t offset = 0; offset < text.size();) {
        if (const char32_t c = DecodeUtf8(text, &offset); !IsMark(c)) AppendUtf8(c, &out);
      }
      return out;
    case NormalizerStep::Kind::kStrip:
      return Stripped(text, step.left, step.right);
  }
  return out;
}

}  // namespace bert::text
